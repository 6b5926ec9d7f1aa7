// Package python has the Python package trellis, by which programs in Python read their run and report their metrics.
// Workers unpack it into a folder that is on PYTHONPATH, so that programs import it without an installation.
//
// Its sources are in the folder trellis, its tests in tests: python3 -m unittest discover -s tests. It uses Python's
// standard library alone.
package python
