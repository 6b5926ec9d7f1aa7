//go:build !soak

package forecast

const defaultOrders = 6
