package insight

// meanMetrics returns the means by name over the maps, without names that one of the maps lacks. It returns nil if
// there are none.
func meanMetrics(all []map[string]float64) map[string]float64 {
	var means map[string]float64
	if len(all) == 0 {
		return nil
	}
	for name := range all[0] {
		sum, everywhere := 0.0, true
		for _, metrics := range all {
			value, has := metrics[name]
			sum, everywhere = sum+value, everywhere && has
		}
		if !everywhere {
			continue
		}
		if means == nil {
			means = make(map[string]float64, len(all[0]))
		}
		means[name] = sum / float64(len(all))
	}
	return means
}
