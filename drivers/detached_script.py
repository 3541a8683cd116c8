"""The shell half of detached jobs: what keeps a job on its host, and what answers our questions about it.

POSIX sh, coreutils, grep and setsid are all it needs over there. A job is a directory, made complete under another
name and renamed into place, so that there is one or none. Who begins it makes the hard link `begun`: there can be
only one, so any number of keepers may be started for a job and the script still runs once. The keeper writes `exit`
as its last act. All small files have their full length from the beginning, so that a full disk loses no status.
"""

from __future__ import annotations

ROOT_PLACE = "/var/lib/opsconsole-jobs"
SECRET_PLACE = "/run/opsconsole-jobs"  # noqa: S105
MARK = "OPSCONSOLE_JOB"

# Fields of /proc/PID/stat behind the name: 1 state, 4 session, 20 start time.
_COMMON = r"""
LC_ALL=C; PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH
umask 077
stat_of() { l=; { read -r l <"/proc/$1/stat"; } 2>/dev/null || return 1; l=${l##*) }; }
alive() {
  stat_of "$1" || return 1
  set -- "$2" $l
  [ "$2" != Z ] && [ "$2" != X ] && [ "${21}" = "$1" ]
}
clock() { read -r up _ </proc/uptime; date "+%s.%N $up"; }
# tenth: tenths of a second, by a clock that nobody sets.
tenth() { read -r up _ </proc/uptime; u=${up%?}; echo "${u%.*}${u#*.}"; }
facts_of() {
  b_pid=0 b_born=0 b_boot= b_sid=0 b_way= c_pid=0 c_born=0
  { read -r b_pid b_born b_boot b_sid b_way _ <"$j/begun"; } 2>/dev/null
  { read -r c_pid c_born _ <"$j/child"; } 2>/dev/null
  read -r boot </proc/sys/kernel/random/boot_id
}
members() {
  facts_of
  # Not who asks: when systemd wants the job to end, that one is in the unit too.
  stat_of $$; set -- $l; ours=$4
  [ "$b_boot" = "$boot" ] || return 0
  leader=$c_pid
  [ ! -e "$j/exit" ] && alive "$b_pid" "$b_born" || alive "$c_pid" "$c_born" || leader=none
  marked=" $({ grep -lF -- "@MARK@=$j/" /proc/[0-9]*/environ
    grep -lF -- "/opsconsole-job-${j##*/}.service" /proc/[0-9]*/cgroup; } 2>/dev/null | tr '\n' ' ')"
  for d in /proc/[0-9]*; do
    stat_of "${d#/proc/}" || continue
    set -- $l
    if [ "$1" = Z ] || [ "$4" = "$b_sid" ] || [ "$4" = "$ours" ]; then continue; fi
    if [ "$4" = "$leader" ]; then echo "${d#/proc/}"; continue; fi
    case $marked in *" $d/environ "*|*" $d/cgroup "*) echo "${d#/proc/}";; esac
  done
}
over() { [ -e "$j/exit" ] || ! alive "$b_pid" "$b_born"; }
# end_all TENTHS: TERM to each once, KILL to what is left after TENTHS/10 s; until the job is over and none is left.
end_all() {
  start=$(tenth) told=' '
  while :; do
    now=$(members); facts_of; passed=$(($(tenth) - start))
    if [ -z "$now" ] && over; then return 0; fi
    [ $passed -lt $(($1 + 100)) ] || return 1
    for p in $now; do
      if [ $passed -ge "$1" ]; then kill -KILL "$p" 2>/dev/null
      else case $told in *" $p "*) ;; *) kill -TERM "$p" 2>/dev/null; told="$told$p ";; esac; fi
    done
    sleep 0.1
  done
}
wipe() {
  [ -e "$j/secrets" ] || [ -L "$j/secrets" ] || return 0
  s=$j/secrets; if [ -L "$s" ]; then s=$(readlink "$s"); fi
  case $s in "$j"/secrets) ;; @SECRETS@/|@SECRETS@/*[!A-Za-z0-9]*) return 0;; @SECRETS@/*) ;; *) return 0;; esac
  # The job's account may have put links there to what is not its own. Now it is out, and no link is followed.
  if [ -d "$s" ] && [ ! -L "$s" ] && chown -h "$(id -u)" "$s" && chmod 700 "$s"; then
    for f in "$s"/*; do
      if [ -f "$f" ] && [ ! -L "$f" ] && [ "$(stat -c %h "$f")" = 1 ]; then shred -fu -n 1 "$f" 2>/dev/null; fi
    done
  fi
  rm -rf "$s" "$j/secrets"
}
""".replace("@MARK@", MARK).replace("@SECRETS@", SECRET_PLACE)

KEEPER = (
    "#!/bin/sh\n"
    + _COMMON
    + r"""
# Keeps one job: DIRECTORY systemd|user|setsid, or DIRECTORY halt when systemd wants it to end.
j=$1 way=$2
cd / && exec </dev/null >>"$j/noise" 2>&1 || exit 1
if [ "$way" = halt ]; then
  if [ -n "$MAINPID" ] && [ ! -e "$j/exit" ]; then end_all 100; fi
  exit 0
fi
trap : TERM HUP INT QUIT
stat_of $$; set -- $l; sid=$4 born=${20}
read -r boot </proc/sys/kernel/random/boot_id
echo "$$ $born $boot $sid $way $(clock)" >"$j/begun.$$" && sync "$j/begun.$$" && ln "$j/begun.$$" "$j/begun"
got=$?
rm -f "$j/begun.$$"
[ $got = 0 ] || exit 0
sync "$j"
read -r limit tenths <"$j/limit"
(
  trap 'kill "$s" 2>/dev/null; exit 0' TERM
  until=$(($(tenth) + limit))
  while left=$((until - $(tenth))) && [ $left -gt 0 ]; do
    [ $left -lt 50 ] || left=50
    sleep $((left / 10)).$((left % 10)) & s=$!
    wait "$s" || exit 0
    facts_of
    if ! alive "$b_pid" "$b_born" && [ -z "$(members)" ]; then wipe; exit 0; fi
  done
  trap '' TERM
  printf yes 1<>"$j/timed_out"
  end_all "$tenths"
) & w=$!
rc=-
exec 7<>"$j/pipe"
(
  trap '' TERM HUP INT
  exec 7>&-
  cat || { printf yes 1<>"$j/cut"; exec cat >/dev/null; }
) <"$j/pipe" >>"$j/out" & c=$!
read -r stop <"$j/stopped"
if [ "$stop" != yes ]; then
  # In a shell of its own, for some shells would say "Killed" where the job's output goes.
  (exec 7>&-; exec setsid env -i "@MARK@=$j/" "PATH=$PATH" /bin/sh "$j/launch" "$j" "$w") >"$j/pipe" 2>&1
  rc=$?
fi
exec 7>&-
read -r timed <"$j/timed_out"
# When the time is over, what is left of the job must go before its end is told.
if [ "$timed" = yes ]; then
  until=$(($(tenth) + tenths + 100))
  while [ -n "$(members)" ] && [ "$(tenth)" -lt $until ]; do sleep 0.1; done
fi
# All the job wrote must be in the file. Somebody it left behind may hold the pipe open: then until nothing moves.
n=0 still=0 size=-1
while stat_of $c && [ "${l%% *}" != Z ] && [ $n -lt 25 ] && [ $still -lt 5 ]; do
  sleep 0.03
  before=$size size=$(stat -c %s "$j/out")
  if [ "$before" = "$size" ]; then still=$((still + 1)); else still=0; fi
  n=$((n + 1))
done
sync "$j/out"
wipe
read -r stop <"$j/stopped"; read -r cut <"$j/cut"
printf '%-200s\n' "$rc $timed $stop $cut $(stat -c %s "$j/out") $(clock)" 1<>"$j/exit.new"
sync "$j/exit.new"
mv "$j/exit.new" "$j/exit"
sync "$j"
# Last, and reaped by us whoever is process 1 here: those who follow the output wait for the end of this one.
kill "$w" 2>/dev/null
wait "$w"
exit 0
""".replace("@MARK@", MARK)
)

LAUNCH = (
    _COMMON
    + r"""
# The first process of the job itself; what follows the marker line becomes the job's account and its script.
j=$1 watch=$2
stat_of $$; set -- $l
printf '%-60s\n' "$$ ${20} $watch" 1<>"$j/child"
umask 022
unset LC_ALL
"""
)

# What every question begins with: where jobs are, and which one is meant.
_FIND = r"""
verb=$1 name=$2; shift 2
me=$(id -u) user=$(id -un)
root=@ROOT@
say() { printf '%s=%s\n' "$1" "$2"; }
fail() { say fail "$*"; exit 0; }
printf '\n@@opsconsole-job\n'
read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id || fail unsupported this is no Linux
if [ "$me" = 0 ]; then b1=$root b2=$root; else
  case $user in *[!A-Za-z0-9._-]*|'') h=$HOME;; *) eval "h=~$user";; esac
  b1=$h/.local/state/opsconsole/jobs b2=/var/tmp/opsconsole-$me/jobs
fi
mine() { [ -d "$1" ] && [ ! -L "$1" ] && [ "$(stat -c %u "$1")" = "$me" ]; }
# ours BASE: nobody else could have laid anything into it. In /var/tmp anybody may be there before us.
ours() { case $1 in /var/tmp/*) closed "${1%/jobs}" && mine "$1";; *) mine "$1";; esac; }
closed() { mine "$1" && case $(stat -c %A "$1") in ?????w*|????????w*) return 1;; esac; }
find_job() {
  for base in "$b1" "$b2"; do
    j=$base/$name; if ours "$base" && mine "$j"; then return; fi
  done
  j=
  if [ "$me" != 0 ] && [ -d "$root/$name" ]; then say where root; exit 0; fi
}
state_of() {
  facts_of; state=absent why= prepared=
  if [ -e "$j/exit" ]; then state=exited
  elif [ ! -e "$j/begun" ]; then prepared=yes
  elif [ "$b_pid" = 0 ]; then state=exited why='it was stopped before it began'
  elif [ "$b_boot" != "$boot" ]; then state=lost why='the host was rebooted before it ended'
  elif alive "$b_pid" "$b_born"; then state=running
  elif alive "$c_pid" "$c_born"; then state=running why='its keeper is gone: it will leave no exit status'
  elif [ -e "$j/exit" ]; then state=exited
  else state=lost why='its processes are gone and left no exit status'; fi
  if [ "$state" = lost ]; then wipe; fi
}
show() {
  if [ -z "$j" ]; then say state absent; say clock "$(date +%s.%N)"; return; fi
  state_of
  say state "$state"; say why "$why"; say prepared "$prepared"; say path "$j"
  if [ -e "$j/begun" ]; then read -r x <"$j/begun"; say begun "$x"; fi
  if [ -e "$j/exit" ]; then read -r x <"$j/exit"; say exit "$x"; fi
  if read -r x <"$j/child"; then say child "$x"; fi
  if read -r x <"$j/cut"; then say cut "$x"; fi
  x=$(clock); say clock "${x% *}"; say uptime "${x#* }"
  size=$(stat -c %s "$j/out") && say size "$size"
}
"""

_ANSWER = r"""
case $verb in
look)
  find_job; show
  if [ -n "$j" ] && [ "$1" -lt "$size" ]; then
    say offset "$1"; echo; tail -c "+$(($1 + 1))" -- "$j/out" | head -c "$2"
  else say offset "$1"; echo; fi;;
stop)
  find_job
  if [ -n "$j" ]; then
    state_of
    if [ "$state" = absent ]; then
      echo "0 0 $boot 0 - $(clock)" >"$j/fence.$$" && ln "$j/fence.$$" "$j/begun" 2>/dev/null &&
        printf '%-200s\n' "- no yes no 0 $(clock)" 1<>"$j/exit.new" && mv "$j/exit.new" "$j/exit" && wipe
      rm -f "$j/fence.$$"
      state_of
    fi
    if [ "$state" != lost ] || [ "$b_boot" = "$boot" ]; then
      if [ "$state" = running ]; then printf yes 1<>"$j/stopped"; fi
      end_all "$1"
    fi
    left=$(members); set -- $left; say processes $#
    facts_of; if over; then wipe; fi
  elif [ -d /run/systemd/system ] && systemctl --quiet is-active "opsconsole-job-$name.service"; then
    # Its directory was taken away by somebody: no more to find out, but it ends.
    systemctl kill --kill-who=all --signal=KILL "opsconsole-job-$name.service"
    systemctl stop "opsconsole-job-$name.service"
    systemctl --quiet reset-failed "opsconsole-job-$name.service" 2>/dev/null
  fi
  show;;
remove)
  find_job
  if [ -n "$j" ]; then
    state_of
    [ "$state" != running ] || fail busy "it is running"
    # A launch may be on its way to a job that lies ready: what it would need goes first.
    if [ "$state" = absent ]; then ln "$j/digest" "$j/begun" 2>/dev/null || fail busy "it is beginning"; fi
    wipe
    gone=${j%/*}/.gone-$name-$$
    mv -T "$j" "$gone" || fail store "$j"
    # What the job left in the background writes on into nothing: without its cat, the reader throws away.
    # One ls for all of them: a readlink each would cost more than everything else a job does.
    for d in $(ls -l /proc/[0-9]*/fd/1 2>/dev/null | grep -F -- " -> $gone/out" |
      sed -n 's|.* \(/proc/[0-9]*\)/fd/1 -> .*|\1|p'); do
      [ "$(readlink "$d/fd/1" 2>/dev/null)" = "$gone/out" ] || continue
      if read -r x <"$d/comm" && [ "$x" = cat ]; then kill -KILL "${d#/proc/}"; fi
    done
    rm -rf "$gone" || fail store "$gone"
  fi
  say state absent;;
esac
"""

_START = r"""
as=$1 digest=$2 limit=$3 tenths=$4 esize=$5 ssize=$6 ksize=$7 lsize=$8; shift 8
if [ "$as" = "$user" ]; then as=; fi
if [ -n "$as" ] && [ "$me" != 0 ]; then say where root; exit 0; fi
same() { [ "$(cat "$j/digest")" = "$digest" ] || fail in_use "another job has the name $name"; }
take() {
  said=$(dd bs=65536 "count=$1" iflag=fullblock,count_bytes of="$2" 2>&1) || { echo "$said" >&2; return 1; }
  [ "$(stat -c %s "$2")" = "$1" ] || { echo 'the input ended early' >&2; return 1; }
}
quoted() { printf "'"; printf %s "$1" | sed "s/'/'\\\\''/g"; printf "'"; }
account() {
  uid=$(id -u -- "$as") && gid=$(id -g -- "$as") || fail account "no account $as"
  eval "home=~$as"
  if setpriv --help >/dev/null 2>&1; then drop="setpriv --reuid=$uid --regid=$gid --init-groups --"
  elif command -v runuser >/dev/null; then drop="runuser -u $as --"
  else fail unsupported "neither setpriv nor runuser to become $as"; fi
}
choose() {
  way=setsid run="systemd-run"
  [ -d /run/systemd/system ] && command -v systemd-run >/dev/null || return 0
  if [ "$me" = 0 ]; then way=systemd; return; fi
  XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$me}; export XDG_RUNTIME_DIR
  if [ -e "/var/lib/systemd/linger/$user" ] && [ -S "$XDG_RUNTIME_DIR/systemd/private" ]; then
    way=user run="systemd-run --user"; return
  fi
  grep -q '/session-' /proc/self/cgroup || return 0
  ask="busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager"
  [ "$($ask KillUserProcesses 2>/dev/null)" = 'b true' ] || return 0
  case $($ask KillExcludeUsers 2>/dev/null) in *"\"$user\""*) return 0;; esac
  fail logout "this host ends what a user leaves running when he logs out (KillUserProcesses)"
}
open_place() {
  for base in "$b1" "$b2"; do
    case $base in
    "$root") mkdir -p -m 711 "$base";;
    /var/tmp/*) mkdir -m 700 "${base%/jobs}" 2>/dev/null; closed "${base%/jobs}" && mkdir -p -m 700 "$base";;
    *) [ "$(stat -f -c %T "$h" 2>/dev/null)" != nfs ] && mkdir -p "$base" 2>/dev/null;;
    esac
    if ours "$base" && [ -w "$base" ]; then return 0; fi
  done
  t=$(mktemp -d "$base/.new-XXXXXXXXXX") && rmdir "$t"
  fail store "$base"
}
secrets() {
  [ $# -gt 0 ] || return 0
  sec=$t/secrets at=$j/secrets
  if [ "$me" = 0 ] && mkdir -p -m 711 @SECRETS@ && mine @SECRETS@; then
    at=$(mktemp -d @SECRETS@/XXXXXXXXXX) && ln -s "$at" "$t/secrets" || return 1
    sec=$at
  else mkdir "$sec" || return 1; fi
  while [ $# -gt 1 ]; do take "$2" "$sec/$1" || return 1; shift 2; done
  printf "OPSCONSOLE_SECRETS=%s; export OPSCONSOLE_SECRETS\n" "$(quoted "$at")" >>"$t/job/who"
}
prepare() {
  t=$(mktemp -d "$base/.new-XXXXXXXXXX") || return 1
  sec= ; trap 'rm -rf "$t" ${sec:+"$sec"}' EXIT; trap 'exit 1' HUP TERM INT
  mkdir "$t/job" && mkfifo "$t/pipe" && : >"$t/out" && : >"$t/noise" || return 1
  take "$esize" "$t/job/enter" && take "$ssize" "$t/job/script" && take "$ksize" "$t/run" &&
    take "$lsize" "$t/launch" || return 1
  printf 'HOME=%s USER=%s LOGNAME=%s SHELL=/bin/sh; export HOME USER LOGNAME SHELL\n' "$(quoted "$home")" \
    "$(quoted "${as:-$user}")" "$(quoted "${as:-$user}")" >"$t/job/who" || return 1
  secrets "$@" || return 1
  echo "exec $drop /bin/sh \"\$j/job/enter\" \"\$j\"" >>"$t/launch" && echo "$digest" >"$t/digest" &&
    echo "$limit $tenths" >"$t/limit" && echo "$boot" >"$t/boot" && printf '%-60s\n' '0 0' >"$t/child" &&
    printf '%-200s\n' - >"$t/exit.new" || return 1
  for f in timed_out stopped cut; do echo 'no ' >"$t/$f" || return 1; done
  if [ -n "$as" ]; then
    chmod 711 "$t" && chown -R "$uid:$gid" "$t/job" "$t/pipe" ${sec:+"$sec"} || return 1
  fi
  sync "$t/job"/* "$t/run" "$t/launch" "$t/digest" "$t/limit" "$t/boot" "$t/exit.new" || return 1
  if said=$(mv -T "$t" "$j" 2>&1); then trap - EXIT; sync "$base"; return 0; fi
  [ -d "$j" ] && return 0
  echo "$said" >&2; return 1
}
keep() {
  setsid -f env -i "PATH=$PATH" /bin/sh "$j/run" "$j" setsid </dev/null >/dev/null 2>&1 ||
    { setsid env -i "PATH=$PATH" /bin/sh "$j/run" "$j" setsid </dev/null >/dev/null 2>&1 & }
}
launch() {
  rc=0
  if [ "$way" = setsid ]; then keep; else
    said=$($run --quiet --no-ask-password --collect --unit="opsconsole-job-$name" --description="opsconsole job $name" \
      -p KillMode=process -p IgnoreSIGPIPE=no -p TimeoutStopSec=25 -p "ExecStop=/bin/sh \"$j/run\" \"$j\" halt" \
      -- /bin/sh "$j/run" "$j" "$way" </dev/null 2>&1) || rc=1
  fi
  n=0
  until [ -e "$j/begun" ]; do
    [ -d "$j" ] || fail store "$j is gone"
    [ $n -lt 500 ] || { tail -c 300 "$j/noise" >&2; fail slow "it has not begun after 10 s"; }
    if [ $rc = 1 ] && [ $n -ge 25 ]; then echo "$said" >&2; rc=0; way=setsid; keep; fi
    if [ $n = 50 ] || [ $n = 300 ]; then { echo 1 >"$j/room.$$" && rm "$j/room.$$"; } || fail store "$j"; fi
    sleep 0.02; n=$((n + 1))
  done
}
drop= home=$h
if [ "$me" = 0 ]; then home=~root; fi
if [ -n "$as" ]; then account; fi
new=no
find_job
if [ -n "$j" ] && [ ! -e "$j/begun" ] && [ "$(cat "$j/boot")" != "$boot" ]; then
  # Prepared before the last boot and never begun: its secrets may be gone, so it is made anew.
  mv -T "$j" "${j%/*}/.gone-$name-$$" && rm -rf "${j%/*}/.gone-$name-$$"; find_job
fi
if [ -z "$j" ]; then
  choose; open_place; j=$base/$name
  prepare "$@" || fail store "$base"
  if [ -d "$t" ]; then rm -rf "$t" ${sec:+"$sec"}; else new=yes; fi
fi
same
if [ ! -e "$j/begun" ]; then choose; launch; fi
say new $new; show; say offset 0; echo
"""

_LIST = r"""
marks=$(for f in $(grep -lF -- '@MARK@=' /proc/[0-9]*/environ 2>/dev/null); do
  tr '\0' '\n' 2>/dev/null <"$f" | sed -n 's/^@MARK@=//p'; done)
list_in() {
  ours "$1" || return 0
  for j in "$1"/* "$1"/.new-* "$1"/.gone-*; do
    mine "$j" || continue
    case ${j##*/} in *[!A-Za-z0-9.-]*) continue;; esac
    size=0; size=$(stat -c %s "$j/out" 2>/dev/null)
    read -r up _ </proc/uptime; now=$(date +%s) age=
    case ${j##*/} in
    .*) state=torn; age=$((now - $(stat -c %Y "$j" 2>/dev/null || echo "$now"))); set -- 0
      if [ "$age" -gt 3600 ]; then rm -rf "$j"; continue; fi;;
    *) state_of; age=$((now - $(stat -c %Y "$j/digest" 2>/dev/null || echo "$now")))
      set -- $(printf '%s\n' "$marks" | grep -cxF -- "$j/");;
    esac
    say job "$state $age ${size:-0} $1 $j"
  done
}
list_in "$b1"; [ "$b1" = "$b2" ] || list_in "$b2"
if [ -d /run/systemd/system ]; then
  for u in $(systemctl list-units --all --plain --no-legend --no-pager 'opsconsole-job-*.service' 2>/dev/null |
    sed -n 's/^\(opsconsole-job-[a-z0-9-]*\)\.service .*/\1/p'); do say unit "${u#opsconsole-job-}"; done
fi
if [ "$me" != 0 ] && [ -d "$root" ]; then say where root; fi
echo
"""


def _whole(part: str) -> bytes:
    text = (_COMMON + _FIND + part).replace("@MARK@", MARK)
    return text.replace("@ROOT@", ROOT_PLACE).replace("@SECRETS@", SECRET_PLACE).encode()


QUESTION = _whole(_ANSWER)
START = _whole(_START)
LIST = _whole(_LIST)
