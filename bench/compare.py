# SPDX-License-Identifier: BSD-3-Clause
"""`make bench-compare`: measures again and fails where a recorded ratio fell by more than a tenth.

python bench/compare.py                     against this machine's file
python bench/compare.py RECORDED            against that file
python bench/compare.py RECORDED MEASURED   two files, nothing measured
"""

import sys

from brazen import bench
from brazen.bench import compare, results


def main(argv):
    if len(argv) > 2 or any(name.startswith("-") for name in argv):
        print(__doc__, file=sys.stderr)
        return 2
    if len(argv) < 2:
        return bench.main(["--compare", *argv])
    try:
        worse = compare.drops(results.load(argv[0]), results.load(argv[1]))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for drop in worse:
        print(drop)
    print(f"compare: {len(worse)} recorded ratios fell by more than 10 %")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
