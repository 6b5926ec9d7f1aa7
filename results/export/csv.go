package export

import (
	"encoding/csv"
	"fmt"
	"io"
)

// WriteCSV writes a table under a header. A value that is missing is empty.
func WriteCSV(out io.Writer, table Table) error {
	w := csv.NewWriter(out)
	record := make([]string, len(table.Columns))
	for i, column := range table.Columns {
		record[i] = column.Name
	}
	if err := w.Write(record); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	for cells, err := range table.Rows {
		if err != nil {
			return err
		}
		for i, cell := range cells {
			record[i] = cell.String()
		}
		if err := w.Write(record); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}
