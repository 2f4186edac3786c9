//go:build race

package portluck

const raceEnabled = true // memory is not measured then
