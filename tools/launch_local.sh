#!/usr/bin/env bash
# Trains with several workers on this machine, as they would on several.
#
#   tools/launch_local.sh 2 -- --flagfile=configs/digits.flags --run_dir=runs/two_workers
#
# Starts that many `python -m fsgan_tf.train --strategy=multi_worker` with a TF_CONFIG on free ports.
# The first, the chief, writes the run directory; what the others print starts with their number.
# Ctrl-C or SIGTERM lets all of them save and stop after one step; when one fails, all are ended. The
# same command resumes from the checkpoint. PYTHON names the interpreter, `python` by default.

set -u
[[ $# -ge 2 && $1 =~ ^[1-9][0-9]*$ && $2 == -- ]] || {
  echo "usage: tools/launch_local.sh WORKERS -- TRAINING_FLAGS..." >&2
  exit 2
}
workers=$1
shift 2
python=${PYTHON:-python}

addresses=$("$python" -c '
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(", ".join("\"127.0.0.1:%d\"" % one.getsockname()[1] for one in sockets))
' "$workers") || exit 1

pids=()
signal_all() { kill -"$1" "${pids[@]}" 2>/dev/null; }
stopping=
trap 'stopping=1; signal_all TERM' INT TERM
trap 'signal_all KILL' EXIT

set -m # A process group for each, so that a Ctrl-C reaches it once, by the trap.
for ((index = 0; index < workers; index++)); do
  task="{\"type\": \"worker\", \"index\": $index}"
  export TF_CONFIG="{\"cluster\": {\"worker\": [$addresses]}, \"task\": $task}"
  if ((index == 0)); then
    "$python" -m fsgan_tf.train "$@" --strategy=multi_worker &
  else
    "$python" -m fsgan_tf.train "$@" --strategy=multi_worker > >(sed "s/^/[worker $index] /") 2>&1 &
  fi
  pids+=($!)
done
set +m

status=0
deadline=
while ((${#pids[@]})); do
  sleep 0.2
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    wait "$pid"
    code=$?
    ((code && !status)) || continue
    status=$code
    [[ $stopping ]] && continue
    echo "a worker ended with exit code $code; ending the others" >&2
    signal_all TERM
    deadline=$((SECONDS + 10))
  done
  pids=(${running[@]+"${running[@]}"})
  [[ $deadline ]] && ((SECONDS >= deadline)) && signal_all KILL
done
exit "$status"
