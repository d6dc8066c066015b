/// Why a command did not do what was asked, in the form in which the user reads it:
/// `waysfs: cannot mount photos: <reason>. <what to do>`.
struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
  /// What was wrong; a clause without a full stop.
  var reason: String
  /// What to do about it: a sentence without its full stop, or empty.
  var remedy: String
  var exitCode: ExitStatus

  init(_ reason: String, remedy: String = "", exitCode: ExitStatus = .failed) {
    self.reason = reason
    self.remedy = remedy
    self.exitCode = exitCode
  }

  /// The reason and what to do, on one line, whatever a server put into its message.
  var description: String {
    guard !remedy.isEmpty else { return LineFormat.escaped(reason) }
    let isSentence = reason.hasSuffix("?") || reason.hasSuffix(".")
    return LineFormat.escaped("\(reason)\(isSentence ? "" : ".") \(remedy).")
  }
}

/// The exit codes, as `waysfs --help` and the manual page document them.
enum ExitStatus: Int32, Sendable {
  /// Done.
  case success = 0
  /// Not done; a line on standard error says why.
  case failed = 1
  /// Unmounted, but not everything could be uploaded; a line on standard error says where it is kept.
  case unfinishedUploads = 2
  /// `waysfs status` has found something that somebody should look after.
  case needsAttention = 3
  /// The command line, an environment variable or a configuration file cannot be understood (EX_USAGE of sysexits.h).
  case usage = 64
}
