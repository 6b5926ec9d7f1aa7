// Package python has the Python package trellis: the client, and what programs read their run with and report their metrics.
// Workers unpack it into a folder that is on PYTHONPATH, so that programs import it without an installation.
//
// generate.py writes the client's messages from the API's description, and the client for asyncio from the one that blocks.
// Its sources are in the folder trellis, its tests in tests: python3 -m unittest discover -s tests. It uses Python's
// standard library alone.
package python
