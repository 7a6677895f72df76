#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# keep_report.sh FOLDER OBJECT COMMAND...: runs the compiler, keeps what ptxas says in FOLDER, shows the rest.
folder=$1
report=$folder/$(basename "$2" .o).txt
shift 2
mkdir -p "$folder"
"$@" > "$report" 2>&1
status=$?
grep -v -e '^ptxas info' -e '^ *[0-9]* bytes stack frame' "$report" >&2
exit $status
