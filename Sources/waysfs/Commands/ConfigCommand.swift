import ArgumentParser
import Glibc

struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Show the options that a mount would have, and where each comes from.",
    discussion: """
      Takes the options of 'waysfs mount', and asks nobody over the network. Secrets are not shown, only where they are.

      EXAMPLES
        waysfs config
        waysfs config --profile archive -o ro
        waysfs config --json
      """)

  @Flag(name: .customLong("json"), help: "Show it as JSON, for programs.")
  var json = false

  @OptionGroup(visibility: .hidden) var flags: MountFlags

  func run() throws {
    do throws(Failure) {
      let rows = try EffectiveOptions.read(flags, ProcessContext.current())
      let text = json ? EffectiveOptions.json(rows) : TextTable.text(rows.map(\.cells), header: EffectiveOptions.header)
      try printOutput("\(text)\n")
    } catch {
      throw CommandEnd(error, doing: "cannot show the configuration")
    }
  }
}

/// What every option comes to.
enum EffectiveOptions {
  struct Row: Hashable, Sendable {
    var name: String
    /// Nil where nothing is set and there is no default.
    var value: String?
    /// How the user knows the place: `--umask`, `AWS_REGION`, `umask in /etc/waysfs/config [default]`, `default`.
    var origin: String

    var cells: [String] { [name, value.map(LineFormat.escaped) ?? "-", LineFormat.escaped(origin)] }
  }

  static let header = ["OPTION", "VALUE", "FROM"]

  static func read(_ flags: MountFlags, _ context: ProcessContext) throws(Failure) -> [Row] {
    do throws(UsageError) {
      var layers = try MountRequest(bucket: "", mountPoint: nil, flags: flags).layers(context)
      let settings = try MountSettings(target: .account, mountPoint: "/", layers: layers, context: context)
      let credentials: Row
      switch found(layers, settings, context) {
      case .success(let found):
        layers.append(try found.layer())
        credentials = Row(name: "credentials", value: found.source.kind, origin: found.source.origin)
        if case .controlPlane = found.source { return named(rows(layers)) + [credentials] }
      // That nothing can be mounted yet is worth showing, and no reason to show nothing.
      case .failure(let failure): credentials = Row(name: "credentials", value: nil, origin: failure.reason)
      }
      return rows(layers) + [credentials]
    } catch {
      throw Failure(error.message, remedy: "See 'waysfs mount --help'", exitCode: .usage)
    }
  }

  /// With an API key the control plane names what nobody else has said, and it is not asked here.
  private static func named(_ rows: [Row]) -> [Row] {
    let spellings = OptionSpelling.all.filter { $0.sets == .endpoint || $0.sets == .region }.map(\.name)
    return rows.map { row in
      guard row.origin == "default", spellings.contains(row.name) else { return row }
      return Row(name: row.name, value: row.value, origin: "default, unless the control plane names another")
    }
  }

  private static func found(
    _ layers: [OptionLayer], _ settings: MountSettings, _ context: ProcessContext
  ) -> Result<FoundCredentials, Failure> {
    Result { () throws(Failure) in try CredentialSearch(context, layers, controlPlane: settings.controlPlane).find() }
  }

  /// One row for each option, in the order of the table.
  static func rows(_ layers: [OptionLayer]) -> [Row] {
    var seen: Set<MountOption> = []
    var rows: [Row] = []
    for spelling in OptionSpelling.all where seen.insert(spelling.sets).inserted {
      let said = layers.lazy.compactMap { $0.values[spelling.sets] }.first
      // Several names for one choice: the one that was chosen.
      let names = OptionSpelling.all.filter { $0.sets == spelling.sets }
      let chosen = said.flatMap { said in names.first { $0.argument == .none(means: said.text) } } ?? spelling
      let value: String? =
        switch chosen.argument {
        case .none(means: "yes"): said?.text ?? "no"
        case .none: "yes"
        case .value: said?.text ?? chosen.defaultText
        }
      rows.append(Row(name: chosen.name, value: value, origin: said?.spelledAs ?? "default"))
    }
    return rows
  }

  static func json(_ rows: [Row]) -> String {
    JSONText.list(
      rows.map { row in
        [
          ("name", JSONText.string(row.name)), ("value", row.value.map(JSONText.string) ?? "null"),
          ("from", JSONText.string(row.origin)),
        ]
      })
  }
}

extension CredentialSource {
  /// What it is, in words.
  var kind: String {
    switch self {
    case .keyPair: "key pair"
    case .controlPlane: "API key"
    }
  }

  /// Where it was found.
  var origin: String {
    switch self {
    case .keyPair(_, let origin), .controlPlane(_, _, let origin): origin
    }
  }
}
