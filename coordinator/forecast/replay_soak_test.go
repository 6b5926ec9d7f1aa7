//go:build soak

package forecast

// defaultOrders is how many orders TestReplayedStudiesEndWhenForecast replays each study in.
const defaultOrders = 100
