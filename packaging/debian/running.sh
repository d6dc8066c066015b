# Prints the processes of waysfs that see this root directory, not those of containers: a line for each. With "old"
# only those whose program was replaced since they were started.
running() {
  for process in /proc/[0-9]*; do
    [ "$process/root" -ef / ] || continue
    program=$(readlink "$process/exe") || continue
    case $program in
      /usr/bin/waysfs) [ "${1:-}" != old ] || continue ;;
      '/usr/bin/waysfs (deleted)' | /usr/bin/waysfs.dpkg-*) ;;
      *) continue ;;
    esac
    echo "  process ${process#/proc/}: $(tr '\0' ' ' 2>/dev/null <"$process/cmdline")"
  done
}
