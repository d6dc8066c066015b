import CLinux
import Glibc

/// Runs a program and waits for its end.
enum Tool {
  struct Outcome: Hashable, Sendable {
    /// The exit code; 128 and the signal's number where a signal ended it.
    var status: Int32
    /// What it wrote to standard error, without the last line break.
    var errorText: String
  }

  /// - Parameter arguments: the name to look for in PATH, then its arguments.
  static func run(_ arguments: [String]) throws(Failure) -> Outcome {
    guard let name = arguments.first else { throw Failure("no program to run") }
    var ends: [Int32] = [-1, -1]
    let code = clinux_pipe(&ends)
    guard code == 0 else { throw Failure("cannot run \(name): \(describe(errno: code))") }
    defer { close(ends[0]) }
    var spawn = SpawnRequest()
    spawn.duplicate(ends[1], to: STDERR_FILENO)
    let result = spawn.start(name, arguments: arguments, environment: nil, searchesPath: true)
    close(ends[1])
    switch result {
    case .failure(let failure): throw failure
    case .success(let pid):
      let text = (try? readToEnd(ends[0], limit: 1 << 16).get()) ?? []
      return Outcome(
        status: waitForExit(pid), errorText: String(String(decoding: text, as: UTF8.self).trimmed))
    }
  }
}

/// Blocks until a child process has ended; its exit code, or 128 and the signal's number.
func waitForExit(_ pid: pid_t) -> Int32 {
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0 {
    guard errno == EINTR else { return -1 }
  }
  return exitCode(ofWaitStatus: status)
}

/// The macros WIFEXITED, WEXITSTATUS and WTERMSIG of waitpid(2).
func exitCode(ofWaitStatus status: Int32) -> Int32 {
  let signal = status & 0x7F
  return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
}

/// A process to start with posix_spawn(3): all signals unblocked and at their defaults.
struct SpawnRequest: ~Copyable {
  private var actions = posix_spawn_file_actions_t()
  private var attributes = posix_spawnattr_t()

  init() {
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
  }

  deinit {
    var actions = actions
    var attributes = attributes
    posix_spawn_file_actions_destroy(&actions)
    posix_spawnattr_destroy(&attributes)
  }

  /// The child has `descriptor` under the number `number`.
  mutating func duplicate(_ descriptor: Int32, to number: Int32) {
    posix_spawn_file_actions_adddup2(&actions, descriptor, number)
  }

  /// The child has /dev/null under the number `number`.
  mutating func connectToNull(_ number: Int32) {
    posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0)
  }

  /// Starts it. `environment` is `NAME=value` lines; nil hands over this process's own.
  mutating func start(
    _ program: String, arguments: [String], environment lines: [String]?, searchesPath: Bool
  ) -> Result<pid_t, Failure> {
    var pid: pid_t = 0
    let code = withCStrings(arguments) { arguments in
      guard let lines else { return spawn(&pid, program, arguments, environ, searchesPath) }
      return withCStrings(lines) { spawn(&pid, program, arguments, $0, searchesPath) }
    }
    return code == 0 ? .success(pid) : .failure(Failure("cannot run \(program): \(describe(errno: code))"))
  }

  private mutating func spawn(
    _ pid: inout pid_t, _ program: String, _ arguments: [UnsafeMutablePointer<CChar>?],
    _ environment: UnsafePointer<UnsafeMutablePointer<CChar>?>?, _ searchesPath: Bool
  ) -> Int32 {
    searchesPath
      ? posix_spawnp(&pid, program, &actions, &attributes, arguments, environment)
      : posix_spawn(&pid, program, &actions, &attributes, arguments, environment)
  }
}

/// Hands over a NULL-terminated array of C strings.
private func withCStrings<Value>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Value) -> Value {
  let pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
  defer { for pointer in pointers { free(pointer) } }
  return body(pointers)
}
