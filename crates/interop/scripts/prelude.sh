# Runs before each script of the corpus. $T is the script's own topic, $D its own folder.
# x COMMAND: runs a command and prints its exit code.
x() { "$@"; echo "rc=$?"; }
# ready TEXT FILE: waits until a program that runs in the background has written a text.
ready() { until grep -q -- "$1" "$2" 2>/dev/null; do sleep 0.02; done; }
# Times of day differ from run to run.
notime() { sed -E 's/"tst":( |\t)*"[^"]*"/"tst":TIME/'; }
