import Glibc
import SystemPackage

/// How a program that was run ended.
struct ProgramResult: Sendable {
  /// Its exit status; nil when a signal ended it or nobody knows.
  var status: Int32?
  /// What it wrote to its standard error, cut at 4 KiB.
  var message: String
}

/// Runs a program that is found in PATH, and waits for it.
///
/// - Throws: the errno of posix_spawnp(3): ENOENT when there is no such program.
func runProgram(_ arguments: [String]) throws(Errno) -> ProgramResult {
  // Not a pipe: only a socket pair is closed on exec from the start, whatever other threads spawn.
  var ends: [Int32] = [-1, -1]
  guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
    throw Errno(rawValue: errno)
  }
  defer { close(ends[0]) }

  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO)

  // The caller may have blocked signals that the program should still be ended by.
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var none = sigset_t()
  sigemptyset(&none)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

  var child: pid_t = 0
  var vector: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
  defer { for argument in vector { free(argument) } }
  let error = posix_spawnp(&child, arguments[0], &actions, &attributes, &vector, environ)
  close(ends[1])
  guard error == 0 else { throw Errno(rawValue: error) }

  let message = readMessage(from: ends[0])
  var status: Int32 = 0
  while waitpid(child, &status, 0) < 0 {
    if errno != EINTR { return ProgramResult(status: nil, message: message) }
  }
  return ProgramResult(status: status & 0x7F == 0 ? (status >> 8) & 0xFF : nil, message: message)
}

/// Reads to the end, so that the writer never blocks, and keeps the beginning.
private func readMessage(from descriptor: Int32) -> String {
  var kept: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { break }
    kept += chunk[..<min(count, 4096 - kept.count)]
  }
  return String(decoding: kept, as: UTF8.self).split(separator: "\n").joined(separator: "; ")
}
