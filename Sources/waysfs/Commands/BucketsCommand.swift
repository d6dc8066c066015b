import ArgumentParser
import Glibc
import WAYSCloud

struct BucketsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "buckets", abstract: "List, create, describe and delete the buckets of a WAYSCloud account.",
    discussion: """
      Needs the API key of the account, in WAYSCLOUD_API_KEY or in a file.

      EXAMPLES
        waysfs buckets list
        waysfs buckets create holiday-photos --tier standard
        waysfs buckets info holiday-photos
        waysfs buckets delete holiday-photos
      """, subcommands: [List.self, Create.self, Info.self, Delete.self, Guide.self])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the buckets.", usage: "waysfs buckets list [--json] [options]",
      discussion: """
        EXAMPLES
          waysfs buckets list
          waysfs buckets list --json
        """)

    @Flag(name: .customLong("json"), help: "Show it as JSON, for programs.")
    var json = false
    @OptionGroup var account: AccountFlags

    func run() throws {
      try perform("cannot list the buckets", account) { buckets throws(Failure) in
        try buckets.list(asJSON: json)
      }
    }
  }

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "create", abstract: "Create a bucket.",
      usage: "waysfs buckets create <bucket> [--tier <tier>] [--region <name>] [--json] [options]",
      discussion: """
        The name is 3 to 63 lowercase letters, digits and hyphens. No other account may have it, and nobody may have had
        it before.

        EXAMPLES
          waysfs buckets create holiday-photos
          waysfs buckets create holiday-photos --tier enterprise --region no-oslo-1
        """)

    @Argument(help: ArgumentHelp("The name of the new bucket.", valueName: "bucket"))
    var name: String
    @Option(help: "How it is stored: standard, or enterprise. (default: the service's)")
    var tier: StorageTier?
    @Option(help: ArgumentHelp("Where it is stored. (default: the service's)", valueName: "name"))
    var region: String?
    @Flag(name: .customLong("json"), help: "Show it as JSON, for programs.")
    var json = false
    @OptionGroup var account: AccountFlags

    func run() throws {
      try perform("cannot create \(name)", account) { buckets throws(Failure) in
        try buckets.create(name, tier: tier, region: region, asJSON: json)
      }
    }
  }

  struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "info", abstract: "Describe a bucket.", usage: "waysfs buckets info <bucket> [--json] [options]",
      discussion: """
        EXAMPLES
          waysfs buckets info holiday-photos
          waysfs buckets info holiday-photos --json
        """)

    @Argument(help: ArgumentHelp("The name of the bucket.", valueName: "bucket"))
    var name: String
    @Flag(name: .customLong("json"), help: "Show it as JSON, for programs.")
    var json = false
    @OptionGroup var account: AccountFlags

    func run() throws {
      try perform("cannot describe \(name)", account) { buckets throws(Failure) in
        try buckets.describe(name, asJSON: json)
      }
    }
  }

  struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "delete", abstract: "Delete an empty bucket for good.",
      usage: "waysfs buckets delete <bucket> [--yes] [options]",
      discussion: """
        Asks for the name to be typed. A deleted name is burnt: nobody can ever create a bucket of that name again.

        EXAMPLES
          waysfs buckets delete holiday-photos
          waysfs buckets delete holiday-photos --yes
        """)

    @Argument(help: ArgumentHelp("The name of the bucket.", valueName: "bucket"))
    var name: String
    @Flag(name: .customLong("yes"), help: "Delete without asking.")
    var yes = false
    @OptionGroup var account: AccountFlags

    func run() throws {
      try perform("cannot delete \(name)", account) { buckets throws(Failure) in
        try buckets.delete(name, isConfirmed: yes)
      }
    }
  }
}

extension BucketsCommand {
  struct Guide: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "guide", abstract: "Print what the service says about its S3 interface.",
      usage: "waysfs buckets guide [options]",
      discussion: """
        For who uses the buckets with other programs.

        EXAMPLES
          waysfs buckets guide
        """)

    @OptionGroup var account: AccountFlags

    func run() throws {
      try perform("cannot show the guide", account) { buckets throws(Failure) in try buckets.guide() }
    }
  }
}

extension StorageTier: ExpressibleByArgument {}

private func perform(
  _ what: String, _ flags: AccountFlags, _ body: (Buckets) throws(Failure) -> Void
) throws(CommandEnd) {
  do throws(Failure) {
    try body(Buckets(account: flags.account(ProcessContext.current())))
  } catch {
    throw CommandEnd(error, doing: what)
  }
}

/// The buckets of an account, for a person or a program.
struct Buckets {
  let account: Account
  var show: (String) throws(Failure) -> Void = { line throws(Failure) in try printOutput("\(line)\n") }
  var say: (String) -> Void = printError
  /// Asks for a line; nil when there is nobody to ask.
  var ask: (String) -> String? = askForLine

  func list(asJSON: Bool) throws(Failure) {
    let list = try account.call { plane throws(ControlPlaneError) in try plane.listBuckets() }
    if let total = list.total, total > list.buckets.count {
      say("waysfs: the control plane shows \(list.buckets.count) of \(total) buckets")
    }
    if asJSON { return try show(JSONText.list(list.buckets.map(\.jsonFields))) }
    guard !list.buckets.isEmpty else { return try show("There are no buckets.") }
    try show(TextTable.text(list.buckets.map(\.cells), header: Bucket.header))
  }

  func guide() throws(Failure) {
    let text = try account.call { plane throws(ControlPlaneError) in try plane.protocolGuide() }
    // Lines of its own are meant; what else a terminal would obey is not.
    let lines = text.trimmed.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    for line in lines { try show(LineFormat.escaped(String(line))) }
  }

  func describe(_ name: String, asJSON: Bool) throws(Failure) {
    let bucket = try account.call { plane throws(ControlPlaneError) in try plane.bucket(named: name) }
    if asJSON { return try show(JSONText.object(bucket.jsonFields)) }
    let size = bucket.sizeBytes.map { "\(ByteCount.text($0)) (\($0) bytes)" }
    let rows: [(String, String?)] = [
      ("Name", bucket.name), ("Region", bucket.region), ("Created", bucket.createdAt), ("Size", size),
      ("Objects", bucket.objectCount.map(String.init)), ("Public", bucket.isPublic.map { $0 ? "yes" : "no" }),
    ]
    try show(TextTable.aligned(rows.map { [$0, $1.map(LineFormat.escaped) ?? "-"] }).joined(separator: "\n"))
  }

  func create(_ name: String, tier: StorageTier?, region: String?, asJSON: Bool) throws(Failure) {
    let made = try change(name) { plane throws(ControlPlaneError) in
      try plane.createBucket(named: name, tier: tier, region: region)
    }
    if asJSON {
      let fields = [
        ("bucket_name", made.name), ("message", made.message), ("endpoint", made.endpoint), ("region", made.region),
      ]
      return try show(JSONText.object(fields.map { ($0, $1.map(JSONText.string) ?? "null") }))
    }
    let places = [made.region.map { "in \($0)" }, made.endpoint.map { "at \($0)" }].compactMap(\.self)
    try show(LineFormat.escaped((["Created \(made.name)"] + places).joined(separator: " ") + "."))
  }

  func delete(_ name: String, isConfirmed: Bool) throws(Failure) {
    if !isConfirmed {
      // What there is, and whether it is there, is known before anybody is asked.
      let bucket = try account.call { plane throws(ControlPlaneError) in try plane.bucket(named: name) }
      guard let answer = ask(Self.question(bucket)) else {
        throw Failure("there is nobody to ask", remedy: "Use --yes to delete without being asked")
      }
      guard answer == name else { throw Failure("'\(LineFormat.escaped(answer))' is not its name; nothing is deleted") }
    }
    _ = try change(name) { plane throws(ControlPlaneError) in try plane.deleteBucket(named: name) }
    try show("Deleted \(name). Its name is burnt.")
  }

  /// How many objects there are was counted at some time; whether it is empty is for the control plane to decide.
  private static func question(_ bucket: Bucket) -> String {
    let count = bucket.objectCount ?? 0
    let objects = count == 1 ? "an object" : "\(count) objects"
    let warning = count > 0 ? "It had \(objects) when they were last counted, and only an empty one is deleted.\n" : ""
    return """
      \(LineFormat.escaped(bucket.name)) would be deleted for good, and its name burnt: nobody could ever create a bucket \
      of that name again.
      \(warning)Type the name to delete it:\u{20}
      """
  }

  /// A call that changes something: when its answer is lost, nobody knows whether it was done.
  private func change<Value>(
    _ name: String, _ body: (ControlPlane) throws(ControlPlaneError) -> Value
  ) throws(Failure) -> Value {
    var isUnclear = false
    do throws(Failure) {
      return try account.call { plane throws(ControlPlaneError) in
        do throws(ControlPlaneError) {
          return try body(plane)
        } catch {
          isUnclear = error.mayBeApplied
          throw error
        }
      }
    } catch {
      guard isUnclear else { throw error }
      throw Failure(error.reason, remedy: "It may have been done all the same: see 'waysfs buckets info \(name)'")
    }
  }
}

extension Bucket {
  fileprivate static let header = ["NAME", "REGION", "CREATED", "OBJECTS", "SIZE", "PUBLIC"]

  fileprivate var cells: [String] {
    [
      name, region ?? "-", createdAt ?? "-", objectCount.map(String.init) ?? "-",
      sizeBytes.map(ByteCount.text) ?? "-", isPublic.map { $0 ? "yes" : "no" } ?? "-",
    ].map(LineFormat.escaped)
  }

  /// With the service's names.
  fileprivate var jsonFields: [(String, String)] {
    [
      ("name", JSONText.string(name)), ("region", region.map(JSONText.string) ?? "null"),
      ("created_at", createdAt.map(JSONText.string) ?? "null"), ("size_bytes", sizeBytes.map { "\($0)" } ?? "null"),
      ("object_count", objectCount.map { "\($0)" } ?? "null"),
      ("is_public", isPublic.map { $0 ? "true" : "false" } ?? "null"),
    ]
  }
}

/// Asks on the terminal; nil when standard input is none.
private func askForLine(_ question: String) -> String? {
  guard isatty(STDIN_FILENO) == 1 else { return nil }
  writeAll(STDERR_FILENO, Array(question.utf8))
  return readLine()
}
