"""The demo world: two health systems with people, patients and their records, the same on every machine.

`seed` fills a development stack, `generate` streams a world of any size. Everything is invented here: the names are
common names of their languages, put together by chance; no record is anybody's.
"""
