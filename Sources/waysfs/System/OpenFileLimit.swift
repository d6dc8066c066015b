import Glibc

/// Lets this process have as many files open as it may: connections, files being written and cached files each need some,
/// and the usual limit of 1024 is for programs that call select(2).
func raiseOpenFileLimit() {
  let openFiles = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  var limit = rlimit()
  guard getrlimit(openFiles, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
  limit.rlim_cur = limit.rlim_max
  _ = setrlimit(openFiles, &limit)
}
