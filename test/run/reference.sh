#!/bin/bash
# Writes doc/reference.md, from what an installed extension says of itself.
. "$(dirname "$0")/setup.sh"
. "$TOP/test/run/server.sh"
server_start reference
sql -c 'CREATE EXTENSION deletion_guard'
cd "$TOP"
perl test/run/reference.pl > "$WORK/reference.md"
cat "$WORK/reference.md" > doc/reference.md
echo "doc/reference.md is written"
