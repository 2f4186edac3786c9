//go:build race && linux

package portluck

const raceEnabled = true // memory is not measured then
