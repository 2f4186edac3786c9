//go:build !race && linux

package portluck

const raceEnabled = false
