//go:build !race

package portluck

const raceEnabled = false
