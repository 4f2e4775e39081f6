#!/usr/bin/env bash
# Train the shipped models in the background, at the lowest priority, one thread a lane.
#   recipes/train_models.sh [DATA]     start, or go on after a stop of any kind
#   recipes/train_models.sh status     the last line of every log
# DATA has the folders cifar10/, noto-emoji/ and emoji-styles/. The runs are in runs/, the logs
# in runs/logs. Several trainings of one thread are faster than one of several threads as soon as
# anything else runs on the machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p runs/logs
demask="$PWD/.venv/bin/demask"
export OMP_NUM_THREADS=1

if [ "${1:-}" = status ]; then
    for log in runs/logs/*.log; do printf '%-28s %s\n' "$(basename "$log")" "$(tail -n 1 "$log")"; done
    exit
fi
data=$(realpath "${1:-data}")

train() { # name of the log, arguments of demask train; a training that has ended is not repeated
    local name=$1 log="runs/logs/$1.log" done="runs/logs/$1.done"
    shift
    [ -e "$done" ] && return
    nice -n 19 "$demask" train "$@" >>"$log" 2>&1 && touch "$done"
}

scenes_lane() {
    local start=() # a shorter training of the same tokenizer to begin with, where there is one
    [ -e runs/scenes_first/tokenizer.safetensors ] &&
        start=(--init runs/scenes_first/tokenizer.safetensors)
    train scenes_tokenizer tokenizer --recipe recipes/scenes/tokenizer.toml "${start[@]}" \
        --out runs/scenes &&
    # steps, not seconds: a training that is paused, or shares its core, would end early
    train scenes_masked masked --recipe recipes/scenes/masked.toml \
        --set run.seconds=0 --set run.steps=6000 --out runs/scenes &&
    train scenes_classes masked --recipe recipes/scenes/classes.toml \
        --tokenizer runs/scenes/tokenizer.safetensors --out runs/scenes_classes &&
    emoji_models
}

emoji_models() {
    local both=(--data "emoji:$data,13" --held-out "emoji:$data,held-out")
    train emoji_tokenizer tokenizer --recipe recipes/emoji/tokenizer.toml \
        "${both[@]}" --out runs/emoji &&
    train emoji_masked masked --recipe recipes/emoji/masked.toml "${both[@]}" --out runs/emoji
}

cifar10_lane() {
    local both=(--data "$data/cifar10/train.parquet" --held-out "$data/cifar10/test.parquet")
    train cifar10_teacher classifier --recipe recipes/cifar10/classifier_teacher.toml \
        "${both[@]}" --out runs/classifier_teacher &&
    train cifar10_tokenizer tokenizer --recipe recipes/cifar10/tokenizer.toml \
        "${both[@]}" --out runs/cifar10 &&
    train cifar10_masked masked --recipe recipes/cifar10/masked.toml \
        "${both[@]}" --out runs/cifar10
}

for lane in scenes_lane cifar10_lane; do
    # the lock keeps a second call from starting the same lane again
    (flock -n 9 || { echo "$lane is running already"; exit; }; "$lane") 9>"runs/logs/$lane.lock" \
        </dev/null >>"runs/logs/$lane.out" 2>&1 &
done
