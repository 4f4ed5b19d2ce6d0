"""What only tests and benchmarks call: `from support import toy`.

A benchmark says first: `sys.path.append(str(Path(__file__).parents[1] / "tests"))`.
"""
