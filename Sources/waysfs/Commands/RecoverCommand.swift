import ArgumentParser
import Basics
import Glibc
import Logging
import SystemPackage
import WritePath

struct RecoverCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover", abstract: "Show, upload, save or discard what a mount could not upload.",
    discussion: """
      Works without mounting. With a bucket, only what belongs to it counts. The options of 'waysfs mount' say where \
      the files are kept and which server they go to: --cache-dir, --endpoint, --region, -o and the others.

      EXAMPLES
        waysfs recover                                  what is there
        waysfs recover photos:2024 --upload             send it, as the next mount would
        waysfs recover --export ~/rescued               write it to files
        waysfs recover --discard docs/letter.txt        give one of them up
      """)

  @Argument(help: ArgumentHelp("Whose files; needed with --upload.", valueName: "bucket[:prefix]"))
  var bucket: String?

  @Flag(name: .customLong("json"), help: "Show it as JSON, for programs.")
  var json = false

  @Flag(name: .customLong("upload"), help: "Upload what was closed or synced and is not in the bucket.")
  var upload = false

  @Option(
    name: .customLong("export"),
    help: ArgumentHelp("Write all of it to files below this directory; none is overwritten.", valueName: "directory"),
    completion: .directory)
  var export: String?

  @Option(
    name: .customLong("discard"),
    help: ArgumentHelp("Remove one of them for good, after asking: its name or its id.", valueName: "name"))
  var discard: String?

  @Flag(name: .customLong("yes"), help: "Discard without asking.")
  var yes = false

  @OptionGroup(visibility: .hidden) var flags: MountFlags

  func validate() throws {
    let chosen = [json, upload, export != nil, discard != nil].count { $0 }
    guard chosen <= 1 else { throw ValidationError("--json, --upload, --export and --discard exclude each other") }
    if upload, bucket == nil { throw ValidationError("--upload needs the bucket, written as for 'waysfs mount'") }
    if yes, discard == nil { throw ValidationError("--yes belongs to --discard") }
  }

  func run() throws {
    do throws(Failure) {
      try carryOut(ProcessContext.current())
    } catch {
      throw CommandEnd(error, doing: "cannot recover")
    }
  }

  private func carryOut(_ context: ProcessContext) throws(Failure) {
    if upload, let bucket {
      let plan = try MountRequest(bucket: bucket, mountPoint: nil, flags: flags).plan(context)
      return try RecoverUpload(plan: plan).run()
    }
    let recover = try makeRecover(context)
    if let export {
      try recover.export(to: export, workingDirectory: context.workingDirectory)
    } else if let discard {
      try recover.discard(discard, isConfirmed: yes)
    } else {
      try recover.list(asJSON: json)
    }
  }

  private func makeRecover(_ context: ProcessContext) throws(Failure) -> Recover {
    do throws(UsageError) {
      let layers = try MountRequest(bucket: "", mountPoint: nil, flags: flags).layers(context)
      return Recover(
        root: FilePath(try MountSettings.cacheDirectory(layers: layers, context: context)),
        bucket: try bucket.map { text throws(UsageError) in try BucketReference(parsing: text) })
    } catch {
      throw Failure(error.message, remedy: "See 'waysfs recover --help'", exitCode: .usage)
    }
  }
}

/// What the journals below a cache directory hold, for a person.
struct Recover {
  /// The cache directory.
  let root: FilePath
  /// Whose files; nil is everybody's.
  var bucket: BucketReference?
  var time = TimeSource.system
  /// Writes to standard output.
  var show: (String) throws(Failure) -> Void = { line throws(Failure) in try printOutput("\(line)\n") }
  /// Writes to standard error.
  var say: (String) -> Void = printError
  /// Asks a question; nil when there is nobody to ask.
  var ask: (String) -> Bool? = askOnTerminal

  /// What there is, by mount.
  func items() throws(Failure) -> [JournalItem] {
    do throws(JournalInventoryError) {
      return try JournalInventory.read(root: root).filter { item in
        // The same bucket behind another endpoint is meant as well: its files are kept here all the same.
        bucket.map { item.identity.map(Self.target(ofIdentity:)) == Self.printable($0.description) } ?? true
      }
    } catch {
      throw Failure("\(error)", remedy: "Give the directory with --cache-dir, and be the user who mounted")
    }
  }

  /// What an identity says behind its endpoint, `https://host:port/`.
  static func target(ofIdentity identity: String) -> String {
    let parts = identity.utf8.split(separator: UInt8(ascii: "/"), maxSplits: 3, omittingEmptySubsequences: false)
    return parts.count == 4 ? String(decoding: Array(parts[3]), as: UTF8.self) : identity
  }

  /// The form in which a journal notes it.
  private static func printable(_ text: String) -> String {
    String(text.map { $0.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 } ? $0 : "?" })
  }

  /// Shows them.
  func list(asJSON: Bool) throws(Failure) {
    let rows = try items().map(RecoverRow.init)
    if asJSON { return try show(RecoverTable.json(rows)) }
    guard !rows.isEmpty else { return try show("Nothing is kept in \(LineFormat.escaped(root.string)).") }
    try show(RecoverTable.text(rows, now: time.wall.seconds))
  }

  /// Writes each to a file of its own.
  func export(to directory: String, workingDirectory: String) throws(Failure) {
    let items = try items()
    guard !items.isEmpty else { return try show("Nothing is kept in \(LineFormat.escaped(root.string)).") }
    let target: RecoverExport
    do throws(UsageError) {
      target = try RecoverExport(directory: OptionValue.path(directory, relativeTo: workingDirectory))
    } catch {
      throw Failure(error.message, exitCode: .usage)
    }
    var failures = 0
    for item in items {
      if item.state == .open, item.isInUse {
        say("waysfs: \(LineFormat.escaped(item.id)) is left out: a running mount writes to it")
        continue
      }
      do throws(Failure) {
        try show(try target.write(item))
      } catch {
        failures += 1
        say("waysfs: \(LineFormat.escaped(item.id)) is not saved: \(error.description)")
      }
    }
    guard failures == 0 else {
      throw Failure("\(failures) of \(items.count) \(items.count == 1 ? "file" : "files") could not be saved")
    }
  }

  /// Removes one, named by its key or its id.
  func discard(_ name: String, isConfirmed: Bool) throws(Failure) {
    let found = try items().filter { $0.id == name || $0.key?.string.utf8.elementsEqual(name.utf8) == true }
    guard let item = found.first else {
      throw Failure("there is no '\(name)'", remedy: "'waysfs recover' shows the names")
    }
    guard found.count == 1 else {
      throw Failure("'\(name)' is ambiguous", remedy: "Give one of \(found.map(\.id).joined(separator: ", "))")
    }
    guard !item.isInUse else { throw Failure(item: item, .inUse(item.directory)) }
    let age = RecoverTable.age(seconds: time.wall.seconds - item.modified.seconds)
    let what = "\(LineFormat.escaped(name)) (\(ByteCount.text(item.size)), \(age) old, \(item.stateName))"
    if !isConfirmed {
      guard let answer = ask("Remove \(what) for good?") else {
        throw Failure("there is nobody to ask", remedy: "Use --yes to discard without being asked")
      }
      guard answer else { return try show("It stays.") }
    }
    do throws(JournalInventoryError) {
      try JournalInventory.discard(item)
    } catch {
      throw Failure(item: item, error)
    }
    try show("Removed \(what).")
  }
}

/// Asks on the terminal; nil when standard input is none.
private func askOnTerminal(_ question: String) -> Bool? {
  guard isatty(STDIN_FILENO) == 1 else { return nil }
  writeAll(STDERR_FILENO, Array("\(question) [y/N] ".utf8))
  return ["y", "yes"].contains(readLine()?.lowercased())
}

extension Failure {
  /// Why something could not be done with an item, and what to do.
  init(item: JournalItem, _ error: JournalInventoryError) {
    switch error {
    case .inUse:
      self.init(
        "a running mount of \(item.identity ?? item.directory.string) has it",
        remedy: "Unmount it first, or let it upload")
    case .changed, .noData, .failed: self.init(error.description)
    }
  }
}

extension JournalItem {
  /// Whether it is to be uploaded.
  var isUnsent: Bool {
    if case .pending = state { true } else { false }
  }

  /// Its state as a word.
  var stateName: String {
    switch state {
    case .pending: "pending"
    case .stranded: "stranded"
    case .open: "open"
    case .recovered: "recovered"
    case .quarantined: "quarantined"
    }
  }
}
