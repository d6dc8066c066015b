import Filesystem
import Logging
import WAYSCloud

/// How requests name the bucket.
enum Addressing: String, Hashable, Sendable {
  /// `https://host/bucket/key`
  case path
  /// `https://bucket.host/key`
  case virtual
}

/// Whether the kernel may read files by itself.
enum PassthroughMode: String, Hashable, Sendable, CaseIterable {
  /// Where nothing can change under who reads.
  case auto
  case always
  case never
}

/// What to mount, where and how: the result of all options.
struct MountSettings: Hashable, Sendable {
  var target: MountTarget
  /// As the user wrote it.
  var mountPoint: String
  var endpoint: Endpoint
  var region: String
  var addressing: Addressing
  var readOnly: Bool
  /// Whether buckets can be made and removed where all are mounted.
  var allowsBucketChanges: Bool
  /// How new ones are stored.
  var bucketTier: StorageTier
  var foreground: Bool
  /// Absolute.
  var cacheDirectory: String
  var writeMode: WriteMode
  /// Bytes that files being written may take in the cache directory; nil is what leaves 5% of its disk free.
  var journalLimit: UInt64?
  /// Whether what is read is kept in the cache directory.
  var keepsReads: Bool
  /// Bytes that it may take; nil is a tenth of the disk.
  var cacheLimit: UInt64?
  var uid: UInt32
  var gid: UInt32
  /// Permission bits of files and directories that have none of their own.
  var fileMode: UInt32
  var directoryMode: UInt32
  var allowOther: Bool
  var allowNonEmpty: Bool
  /// Seconds.
  var metadataLifetime: Double
  var attributes: AttributesMode
  /// Bytes.
  var memoryLimit: UInt64
  /// Bytes that the control group leaves this process, for its own needs too; nil where nothing limits it.
  var memoryAllowed: UInt64?
  var connections: Int
  var passthrough: PassthroughMode
  /// Absolute.
  var caFile: String?
  var logLevel: Logger.Level
  /// Absolute.
  var logFile: String?
  /// Seconds.
  var mountTimeout: Double
  /// Where key pairs come from when there is an API key.
  var controlPlane: Endpoint
  var kernelFlags: Set<KernelFlag>
}

/// What the process brings along.
struct ProcessContext: Sendable {
  var uid: UInt32
  var gid: UInt32
  var workingDirectory: String
  var environment: [String: String]
  /// Bytes that the control group of this process leaves it; nil where nothing limits it.
  var memoryAllowed: UInt64?

  /// Where records of this user's mounts may be.
  var recordDirectories: [String] { RuntimeDirectory.candidates(uid: uid, environment: environment) }

  /// The user's home directory, where the environment tells it.
  var home: String? { environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil } }
}

extension MountSettings {
  /// Puts the layers together, the strongest first.
  init(
    target: MountTarget, mountPoint: String, layers: [OptionLayer], context: ProcessContext
  ) throws(UsageError) {
    let options = LayeredOptions(layers)
    self.target = target
    self.mountPoint = mountPoint
    endpoint = try options.endpoint()
    region = try options.read(.region, default: "eu-north-1", Self.regionName)
    addressing = try options.read(.addressing, default: "path") { text in Addressing(rawValue: text) ?? .path }
    readOnly = try options.read(.readOnly, default: "no", OptionValue.flag)
    allowsBucketChanges = try options.read(.allowBucketChanges, default: "no", OptionValue.flag)
    bucketTier = try options.read(.bucketTier, default: "standard", Self.tier)
    foreground = try options.read(.foreground, default: "no", OptionValue.flag)
    let path = { (text: String) throws(UsageError) -> String in
      try OptionValue.path(text, relativeTo: context.workingDirectory)
    }
    cacheDirectory = try options.read(.cacheDirectory, default: Self.defaultCacheDirectory(context), path)
    writeMode = try options.read(.writeMode, default: "close", Self.writeMode)
    journalLimit = try options.readIfSet(.journalLimit, Self.journalSize)
    cacheLimit = try options.readIfSet(.cacheLimit, Self.cacheSize)
    keepsReads = options.isSet(.cacheDirectory) && cacheLimit != 0
    if let cacheLimit, cacheLimit > 0, !keepsReads {
      throw UsageError("--cache-limit is about what is kept in the directory that --cache-dir names, and none is given")
    }
    uid = try options.readIfSet(.uid, OptionValue.identifier) ?? context.uid
    gid = try options.readIfSet(.gid, OptionValue.identifier) ?? context.gid
    let umask = try options.read(.umask, default: "022", OptionValue.permissions)
    fileMode = try options.readIfSet(.fileMode, OptionValue.permissions) ?? (0o666 & ~umask)
    directoryMode = try options.readIfSet(.directoryMode, OptionValue.permissions) ?? (0o777 & ~umask)
    allowOther = try options.read(.allowOther, default: "no", OptionValue.flag)
    allowNonEmpty = try options.read(.allowNonEmpty, default: "no", OptionValue.flag)
    metadataLifetime = try options.read(.metadataLifetime, default: "10s", OptionValue.duration)
    attributes = try options.read(.attributes, default: "auto", Self.attributesMode)
    memoryLimit =
      try options.readIfSet(.memoryLimit, Self.memorySize) ?? Self.defaultMemoryLimit(allowed: context.memoryAllowed)
    memoryAllowed = context.memoryAllowed
    connections = Int(try options.read(.connections, default: "32", Self.connectionCount))
    passthrough = try options.read(.passthrough, default: "auto", Self.passthroughMode)
    caFile = try options.readIfSet(.caFile, path)
    logLevel = try options.read(.logLevel, default: "info", LogLevelName.parse)
    logFile = try options.readIfSet(.logFile, path)
    mountTimeout = try options.read(.mountTimeout, default: "60s", Self.timeout)
    controlPlane = try options.read(.apiURL, default: "https://api.wayscloud.services", Self.controlPlane)
    kernelFlags = options.kernelFlags(default: [.noSetUserID, .noDevices])
  }

  /// Whether these options ask for every bucket of the account.
  static func mountsAll(layers: [OptionLayer]) throws(UsageError) -> Bool {
    try LayeredOptions(layers).read(.allBuckets, default: "no", OptionValue.flag)
  }

  /// The certificates to trust, as these options say; for commands that mount nothing.
  static func caFile(layers: [OptionLayer], context: ProcessContext) throws(UsageError) -> String? {
    try LayeredOptions(layers).readIfSet(.caFile) { text throws(UsageError) in
      try OptionValue.path(text, relativeTo: context.workingDirectory)
    }
  }

  /// The server, as these options say.
  static func endpoint(layers: [OptionLayer]) throws(UsageError) -> Endpoint {
    try LayeredOptions(layers).endpoint()
  }

  /// Where files being written are kept, as these options say; for commands that mount nothing.
  static func cacheDirectory(layers: [OptionLayer], context: ProcessContext) throws(UsageError) -> String {
    try LayeredOptions(layers).read(.cacheDirectory, default: defaultCacheDirectory(context)) {
      text throws(UsageError) in try OptionValue.path(text, relativeTo: context.workingDirectory)
    }
  }

  /// The control plane, as these options say; for commands that mount nothing.
  static func controlPlane(layers: [OptionLayer]) throws(UsageError) -> Endpoint {
    try LayeredOptions(layers).read(.apiURL, default: "https://api.wayscloud.services", controlPlane)
  }

  private static func controlPlane(_ text: String) throws(UsageError) -> Endpoint {
    let endpoint = try Endpoint(parsing: text)
    guard endpoint.isTLS || endpoint.isLoopback else {
      throw UsageError(
        "'\(text)' is not https: the API key would cross the network in the clear; plain http is for this machine only")
    }
    return endpoint
  }

  private static func defaultCacheDirectory(_ context: ProcessContext) -> String {
    if context.uid == 0 { return "/var/cache/waysfs" }
    if let cache = context.environment["XDG_CACHE_HOME"], cache.hasPrefix("/") { return "\(cache)/waysfs" }
    // Without a home there is only the directory that survives a reboot and is everybody's.
    return context.home.map { "\($0)/.cache/waysfs" } ?? "/var/tmp/waysfs-\(context.uid)"
  }

  private static func regionName(_ text: String) throws(UsageError) -> String {
    let allowed = text.utf8.allSatisfy {
      (0x61...0x7A).contains($0 | 0x20) || (0x30...0x39).contains($0) || $0 == 0x2D || $0 == 0x5F
    }
    guard (1...64).contains(text.utf8.count), allowed else {
      throw UsageError("'\(text)' is not the name of a region, such as eu-north-1")
    }
    return text
  }

  private static func tier(_ text: String) throws(UsageError) -> StorageTier {
    guard let tier = StorageTier(rawValue: text) else {
      throw UsageError("'\(text)' is neither standard nor enterprise")
    }
    return tier
  }

  private static func writeMode(_ text: String) throws(UsageError) -> WriteMode {
    guard let mode = WriteMode(rawValue: text) else { throw UsageError("'\(text)' is neither close nor writeback") }
    return mode
  }

  private static func attributesMode(_ text: String) throws(UsageError) -> AttributesMode {
    guard let mode = AttributesMode(rawValue: text) else {
      throw UsageError("'\(text)' is none of auto, always and never")
    }
    return mode
  }

  private static func passthroughMode(_ text: String) throws(UsageError) -> PassthroughMode {
    guard let mode = PassthroughMode(rawValue: text) else {
      throw UsageError("'\(text)' is none of auto, always and never")
    }
    return mode
  }

  /// Whether files that are whole here are read by the kernel. Who has one open does not see what other programs of this
  /// machine write to it; so, unless it is asked for, only where nobody can write.
  var passesThrough: Bool { passthrough == .always || (passthrough == .auto && readOnly) }

  private static func journalSize(_ text: String) throws(UsageError) -> UInt64 {
    let size = try OptionValue.size(text)
    // Below this not even the parts of one file that are on their way fit.
    guard size >= 16 << 20 else { throw UsageError("'\(text)' is too small: at least 16MiB are needed") }
    return size
  }

  private static func cacheSize(_ text: String) throws(UsageError) -> UInt64 {
    let size = try OptionValue.size(text)
    guard size == 0 || size >= 16 << 20 else { throw UsageError("'\(text)' is too small: at least 16MiB are needed") }
    return size
  }

  /// Half of what the control group leaves: the other half is for the rest of the process, which takes up to 64 MiB, and
  /// for the page cache of its files. No limit is below what an explicit one must be.
  private static func defaultMemoryLimit(allowed: UInt64?) -> UInt64 {
    min(256 << 20, max(16 << 20, (allowed ?? .max) / 2))
  }

  /// What to tell the user when the control group will not let the process have what the options promise it.
  var memoryWarning: String? {
    guard let memoryAllowed, memoryAllowed < 64 << 20 || memoryLimit > memoryAllowed - (64 << 20) else { return nil }
    let (limit, allowed) = (ByteCount.text(memoryLimit), ByteCount.text(memoryAllowed))
    return "with a memory limit of \(limit) this process may need 64 MiB more, and its control group allows \(allowed)"
  }

  private static func memorySize(_ text: String) throws(UsageError) -> UInt64 {
    let size = try OptionValue.size(text)
    // Below this not even one read-ahead window of one stream fits.
    guard size >= 16 << 20 else { throw UsageError("'\(text)' is too small: at least 16MiB are needed") }
    return size
  }

  private static func connectionCount(_ text: String) throws(UsageError) -> UInt64 {
    try OptionValue.number(text, in: 1...1024)
  }

  private static func timeout(_ text: String) throws(UsageError) -> Double {
    let seconds = try OptionValue.duration(text)
    guard seconds >= 1 else { throw UsageError("'\(text)' is too short: at least 1s is needed") }
    return seconds
  }
}

/// Looks options up in several layers.
private struct LayeredOptions {
  private let layers: [OptionLayer]

  init(_ layers: [OptionLayer]) { self.layers = layers }

  func readIfSet<Value>(
    _ option: MountOption, _ parse: (String) throws(UsageError) -> Value
  ) throws(UsageError) -> Value? {
    for layer in layers {
      guard let value = layer.values[option] else { continue }
      do {
        return try parse(value.text)
      } catch {
        throw UsageError("\(value.spelledAs): \(error.message)")
      }
    }
    return nil
  }

  func endpoint() throws(UsageError) -> Endpoint {
    try read(.endpoint, default: "https://storage.wayscloud.services", Endpoint.init(parsing:))
  }

  func isSet(_ option: MountOption) -> Bool { layers.contains { $0.values[option] != nil } }

  func read<Value>(
    _ option: MountOption, default text: String, _ parse: (String) throws(UsageError) -> Value
  ) throws(UsageError) -> Value {
    if let value = try readIfSet(option, parse) { return value }
    return try parse(text)
  }

  func kernelFlags(default flags: Set<KernelFlag>) -> Set<KernelFlag> {
    KernelFlag.allCases.reduce(into: []) { chosen, flag in
      let said = layers.lazy.compactMap { $0.kernelFlags[flag] }.first
      if said ?? flags.contains(flag) { chosen.insert(flag) }
    }
  }
}
