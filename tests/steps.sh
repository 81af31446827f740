# shellcheck shell=bash
# Steps that are counted, and the summary, for tests/run and tests/boards. To be sourced, with LOGS
# set to a folder for logs.

passed=0 failed=0 failures=() skips=()

has() { # command
    command -v "$1" >/dev/null 2>&1
}

skip() { # reason
    skips+=("SKIPPED $1")
    echo "SKIPPED $1"
}

fail() { # what
    failed=$((failed + 1))
    failures+=("FAILED $1")
    echo "FAILED $1"
}

# Sets `spent` to the seconds of processors that finished commands of this script have taken.
count_processors() {
    local stat
    read -r -a stat <"/proc/$$/stat"
    spent=$(((stat[15] + stat[16]) / $(getconf CLK_TCK)))
}

# Runs a command under a title; says how long it took, of the clock and of processors.
timed() { # title, command...
    local start=$SECONDS before status=0
    count_processors
    before=$spent
    printf '\n== %s\n' "$1"
    "${@:2}" || status=$?
    count_processors
    echo "($1: $((SECONDS - start)) s, $((spent - before)) s of processors)"
    return "$status"
}

# Runs a command under a title and counts it as one test.
step() { # title, command...
    if timed "$@"; then
        passed=$((passed + 1))
    else
        fail "$1"
    fi
}

logged() { # log, command...
    "${@:2}" 2>&1 | tee "$1"
}

# A step that may find that this machine cannot do it: exit code 77, the reason in the last line.
step_or_skip() { # title, command...
    local log=$LOGS/step.log status=0
    timed "$1" logged "$log" "${@:2}" || status=$?
    count_status "$1" "$status" "$log"
}

# Counts a step by its exit code, 77 as a step that this machine cannot do.
count_status() { # title, status, log
    case $2 in
    0) passed=$((passed + 1)) ;;
    77) skip "$1: $(tail -n 1 "$3")" ;;
    *) fail "$1" ;;
    esac
}

# Adds up the results in the output of `cargo test`: also what tests say that they skip, and what is
# marked `ignore`.
count_results() { # file
    local line
    while read -r line; do
        [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed ]] || continue
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    done < <(grep '^test result:' "$1")
    while read -r line; do
        failures+=("FAILED $line")
    done < <(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$1")
    while read -r line; do
        skips+=("$line")
    done < <({
        grep -o 'SKIPPED .*' "$1" || true
        sed -nE 's/^test (.*) \.\.\. ignored(, (.*))?$/SKIPPED \1: ignored \3/p' "$1"
    } | sort -u)
}

# Adds the results of another script, which has written a summary.
add_summary() { # file
    local line counts
    while read -r line; do
        case $line in
        FAILED*) failures+=("$line") ;;
        SKIPPED*) skips+=("$line") ;;
        *' passed, '*' failed, '*' skipped')
            read -r -a counts <<<"$line"
            passed=$((passed + counts[0]))
            failed=$((failed + counts[2]))
            return
            ;;
        esac
    done < <(sed '1,/^== summary$/d' "$1")
    fail "$1 ends before its summary"
}

# The last line reads `N passed, N failed, N skipped`.
summary() {
    echo
    echo "== summary"
    [[ ${#failures[@]} == 0 ]] || printf '%s\n' "${failures[@]}"
    [[ ${#skips[@]} == 0 ]] || printf '%s\n' "${skips[@]}"
    echo "$passed passed, $failed failed, ${#skips[@]} skipped"
    [[ $failed == 0 ]]
}

# Whether nothing was skipped but what CI excuses: no package gives a processor what it lacks, and a
# nightly toolchain is not to be had everywhere or every night.
only_excused_skips() {
    local line
    for line in "${skips[@]+"${skips[@]}"}"; do
        [[ $line == *": this CPU lacks "* || $line == "SKIPPED Miri: "* ]] || return 1
    done
}
