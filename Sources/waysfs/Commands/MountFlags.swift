import ArgumentParser

/// The options of a mount as flags; names and help come from the table.
struct MountFlags: ParsableArguments {
  @Flag(.allBuckets) var allBuckets = false
  @Option(.endpoint) var endpoint: String?
  @Option(.region) var region: String?
  @Flag(.pathStyle) var pathStyle = false
  @Flag(.virtualHost) var virtualHost = false
  @Flag(.readOnly) var readOnly = false
  @Flag(.allowBucketChanges) var allowBucketChanges = false
  @Option(.bucketTier) var bucketTier: String?
  @Flag(.foreground) var foreground = false
  @Option(.cacheDirectory) var cacheDirectory: String?
  @Option(.writeMode) var writeMode: String?
  @Option(.journalLimit) var journalLimit: String?
  @Option(.cacheLimit) var cacheLimit: String?
  @Option(.uid) var uid: String?
  @Option(.gid) var gid: String?
  @Option(.umask) var umask: String?
  @Option(.fileMode) var fileMode: String?
  @Option(.directoryMode) var directoryMode: String?
  @Flag(.allowOther) var allowOther = false
  @Flag(.allowNonEmpty) var allowNonEmpty = false
  @Option(.metadataLifetime) var metadataLifetime: String?
  @Option(.attributes) var attributes: String?
  @Option(.memoryLimit) var memoryLimit: String?
  @Option(.connections) var connections: String?
  @Option(.passthrough) var passthrough: String?
  @Option(.caFile) var caFile: String?
  @Option(.logLevel) var logLevel: String?
  @Option(.logFile) var logFile: String?
  @Option(.mountTimeout) var mountTimeout: String?
  @Option(.profile) var profile: String?
  @Option(.configurationFile) var configurationFile: String?
  @Option(.apiKeyFile) var apiKeyFile: String?
  @Option(.credentialsFile) var credentialsFile: String?
  @Option(.awsProfile) var awsProfile: String?
  @Option(.apiURL) var apiURL: String?

  @Option(
    name: .customShort("o"),
    help: ArgumentHelp(
      """
      Options as mount(8) takes them: the names above without the hyphens in front, ro, rw, noatime, nosuid, nodev, \
      noexec, and those of fstab, such as _netdev and nofail. A flag is stronger than -o.
      """, valueName: "name[=value],..."))
  var optionLists: [String] = []

  /// What the flags say.
  func layer() throws(UsageError) -> OptionLayer {
    var layer = OptionLayer(.flag)
    for (spelling, value) in given {
      guard let value else { continue }
      try layer.set(spelling.sets, to: value, spelledAs: "--\(spelling.name)")
    }
    return layer
  }

  private var given: [(OptionSpelling, String?)] {
    [
      (.allBuckets, allBuckets ? "yes" : nil), (.endpoint, endpoint), (.region, region),
      (.pathStyle, pathStyle ? "path" : nil),
      (.virtualHost, virtualHost ? "virtual" : nil), (.readOnly, readOnly ? "yes" : nil),
      (.allowBucketChanges, allowBucketChanges ? "yes" : nil), (.bucketTier, bucketTier),
      (.foreground, foreground ? "yes" : nil), (.cacheDirectory, cacheDirectory),
      (.writeMode, writeMode), (.journalLimit, journalLimit), (.cacheLimit, cacheLimit),
      (.uid, uid), (.gid, gid), (.umask, umask),
      (.fileMode, fileMode), (.directoryMode, directoryMode),
      (.allowOther, allowOther ? "yes" : nil), (.allowNonEmpty, allowNonEmpty ? "yes" : nil),
      (.metadataLifetime, metadataLifetime), (.attributes, attributes),
      (.memoryLimit, memoryLimit),
      (.connections, connections), (.passthrough, passthrough), (.caFile, caFile), (.logLevel, logLevel),
      (.logFile, logFile),
      (.mountTimeout, mountTimeout), (.profile, profile), (.configurationFile, configurationFile),
      (.apiKeyFile, apiKeyFile), (.credentialsFile, credentialsFile), (.awsProfile, awsProfile), (.apiURL, apiURL),
    ]
  }
}

extension Option where Value == String? {
  /// An option of the table.
  init(_ spelling: OptionSpelling) {
    self.init(name: .customLong(spelling.name), help: spelling.argumentHelp, completion: spelling.completion)
  }
}

extension Flag where Value == Bool {
  /// An option of the table.
  init(wrappedValue: Bool, _ spelling: OptionSpelling) {
    self.init(wrappedValue: wrappedValue, name: .customLong(spelling.name), help: spelling.argumentHelp)
  }
}

extension OptionSpelling {
  fileprivate var argumentHelp: ArgumentHelp {
    switch argument {
    case .none: ArgumentHelp(stringLiteral: fullHelp)
    case .value(let form): ArgumentHelp(fullHelp, valueName: form)
    }
  }
}
