import Glibc
import SystemPackage
import WritePath

/// Writes items of a journal to files below a directory. Nothing that is there is written over: a name that is taken
/// gets a number.
struct RecoverExport {
  /// Absolute.
  let directory: String
  /// How many names are tried for one file.
  private static let attempts = 1000

  /// Writes one; a line that says where to.
  func write(_ item: JournalItem) throws(Failure) -> String {
    var parts = Self.components(key: item.key?.string, id: item.id)
    let name = parts.removeLast()
    try makeDirectory(directory)
    var parent = directory
    for part in parts { parent = try enter(part, below: parent) }
    for attempt in 1...Self.attempts {
      let path = "\(parent)/\(Self.numbered(name, attempt))"
      do throws(JournalInventoryError) {
        let written = try JournalInventory.export(item, to: FilePath(path))
        return "\(LineFormat.escaped(item.id)) -> \(LineFormat.escaped(path))\(Self.note(written, item))"
      } catch {
        if case .failed(_, .fileExists) = error { continue }
        throw Failure(item: item, error)
      }
    }
    throw Failure("too many files are called \(name) in \(parent)")
  }

  /// What is to be known about the bytes.
  private static func note(_ written: JournalExport, _ item: JournalItem) -> String {
    let size = ByteCount.text(written.size)
    guard let missing = written.missing else { return " (\(size); what was not written here reads as zeros)" }
    let bytes = missing.reduce(0) { $0 + UInt64($1.count) }
    guard bytes > 0 else { return " (\(size))" }
    let place = item.state == .stranded ? "were in the object that was replaced" : "are only in the bucket"
    return " (\(size), of which \(ByteCount.text(bytes)) \(place) and read as zeros)"
  }

  /// The path below the directory: that of the key, with what a file name cannot be, or must not be here, escaped.
  static func components(key: String?, id: String) -> [String] {
    guard let key, !key.isEmpty else { return ["unnamed-" + id.split(separator: "/").joined(separator: "-")] }
    var parts = key.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map(Array.init)
    // A directory's key ends in a slash.
    if parts.count > 1, parts.last?.isEmpty == true { parts.removeLast() }
    return parts.map { part in
      switch part {
      case []: "%"
      case Array(".".utf8): "%2E"
      case Array("..".utf8): "%2E%2E"
      default:
        // Room for a number; keys are UTF-8, so that a cut character becomes a replacement.
        String(decoding: part.filter { $0 != 0 }.prefix(240), as: UTF8.self)
      }
    }
  }

  /// `a.txt`, `a (2).txt`, `a (3).txt`.
  static func numbered(_ name: String, _ attempt: Int) -> String {
    guard attempt > 1 else { return name }
    guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return "\(name) (\(attempt))" }
    return "\(name[..<dot]) (\(attempt))\(name[dot...])"
  }

  /// A directory of that name, or of a numbered one where a file has it.
  private func enter(_ name: String, below parent: String) throws(Failure) -> String {
    for attempt in 1...Self.attempts {
      let path = "\(parent)/\(Self.numbered(name, attempt))"
      if mkdir(path, 0o700) == 0 { return path }
      guard errno == EEXIST else { throw Failure("cannot make \(path): \(describe(errno: errno))") }
      var information = stat()
      // A link could lead out of the directory.
      if lstat(path, &information) == 0, information.st_mode & S_IFMT == S_IFDIR { return path }
    }
    throw Failure("too many files are called \(name) in \(parent)")
  }

  private func makeDirectory(_ path: String) throws(Failure) {
    guard mkdir(path, 0o700) != 0, errno != EEXIST else { return }
    throw Failure("cannot make \(path): \(describe(errno: errno))")
  }
}
