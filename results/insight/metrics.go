package insight

// meanMetrics are the means by name over so many maps, without those that one of the maps lacks. Nil if there are none.
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
