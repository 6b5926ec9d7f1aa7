// Package python has the Python package trellis: the client, and what programs read their run and report their metrics
// with. Workers unpack it into a folder that is on PYTHONPATH, so that programs import it without an installation.
//
// Its sources are in the folder trellis. generate.py writes the client's messages from the API's description, and the
// client for asyncio from the one that blocks. Its tests are in tests: python3 -m unittest discover -s tests. Those of
// the client that need a coordinator are run by TestPythonClient in command. It uses Python's standard library alone.
package python
