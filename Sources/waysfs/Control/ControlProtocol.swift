import Basics
import Logging

/// What a client asks a running mount over its control socket: one request and one answer a connection.
///
///     client   waysfs-control 1 status\n
///     mount    waysfs-control 1 ok 5123\n                     followed by that many bytes
///     client   waysfs-control 1 log-level debug\n             without a level: asks for the present one
///     mount    waysfs-control 1 error that is no level\n
///
/// The number is that of the protocol. Answers may get more members within a number; requests and lines keep their form.
enum ControlRequest: Hashable, Sendable {
  /// The answer is a `MountStatus` as JSON.
  case status
  /// The answer is the level as text, after it was set when there is one.
  case logLevel(Logger.Level?)

  /// The first words of each line.
  static let greeting = "waysfs-control 1"
  /// The longest line with a request, in bytes, its end included.
  static let longestLine = 128

  var line: String {
    switch self {
    case .status: "\(Self.greeting) status\n"
    case .logLevel(let level): "\(Self.greeting) log-level\(level.map { " \($0.rawValue)" } ?? "")\n"
    }
  }

  /// Reads a line without its end.
  init(parsing line: [UInt8]) throws(Failure) {
    let words = String(decoding: line, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
    guard words.count >= 3, words[0] == "waysfs-control" else { throw Failure("that is no request") }
    guard words[1] == "1" else { throw Failure("this mount speaks version 1 of the protocol") }
    switch (words[2], words.count) {
    case ("status", 3): self = .status
    case ("log-level", 3): self = .logLevel(nil)
    case ("log-level", 4):
      guard let level = Logger.Level(rawValue: String(words[3])) else { throw Failure("that is no level") }
      self = .logLevel(level)
    default: throw Failure("that is no request")
    }
  }
}

/// What a mount answers.
enum ControlAnswer: Hashable, Sendable {
  case ok([UInt8])
  /// One clause for a person.
  case error(String)

  /// The longest that a client takes, in bytes.
  static let longest = 16 << 20

  var bytes: [UInt8] {
    switch self {
    case .ok(let payload): Array("\(ControlRequest.greeting) ok \(payload.count)\n".utf8) + payload
    case .error(let reason): Array("\(ControlRequest.greeting) error \(LineFormat.escaped(reason))\n".utf8)
    }
  }

  /// Reads what has come so far.
  /// - Returns: nil when more is to come.
  /// - Throws: when it is no answer.
  init?(parsing bytes: [UInt8]) throws(Failure) {
    let longestHead = 512
    guard let end = bytes.prefix(longestHead).firstIndex(of: UInt8(ascii: "\n")) else {
      guard bytes.count < longestHead else { throw Self.malformed }
      return nil
    }
    let text = String(decoding: bytes[..<end], as: UTF8.self)
    let words = text.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
    guard words.count == 4, words[0] == "waysfs-control" else { throw Self.malformed }
    switch words[2] {
    case "error": self = .error(String(words[3]))
    case "ok":
      guard words[1] == "1", let length = Int(words[3]), (0...Self.longest).contains(length) else {
        throw Self.malformed
      }
      let payload = bytes[(end + 1)...]
      guard payload.count >= length else { return nil }
      self = .ok(Array(payload.prefix(length)))
    default: throw Self.malformed
    }
  }

  private static let malformed = Failure("the answer cannot be understood")
}

/// The mount's side of one connection: bytes in, a request out. A plain value, without I/O.
struct ControlConversation: Hashable, Sendable {
  enum Step: Hashable, Sendable {
    /// More is to come.
    case wait
    case answer(ControlRequest)
    case refuse(String)
  }

  private var line: [UInt8] = []
  private var isOver = false

  /// Takes what has come. After the first step other than `wait` the rest is of no interest.
  mutating func receive(_ bytes: some Collection<UInt8>) -> Step {
    guard !isOver else { return .wait }
    // Of one who sends without end no more is kept than a line may have.
    line.append(contentsOf: bytes.prefix(ControlRequest.longestLine - line.count))
    guard let end = line.firstIndex(of: UInt8(ascii: "\n")) else {
      guard line.count >= ControlRequest.longestLine else { return .wait }
      isOver = true
      return .refuse("the request is too long")
    }
    isOver = true
    do throws(Failure) {
      return .answer(try ControlRequest(parsing: Array(line[..<end])))
    } catch {
      return .refuse(error.reason)
    }
  }
}
