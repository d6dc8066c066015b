/// A setting of a mount that the user can choose.
enum MountOption: String, CaseIterable, Sendable {
  case endpoint, region, addressing, readOnly, foreground, cacheDirectory, uid, gid, umask, fileMode, directoryMode
  case allBuckets, allowBucketChanges, bucketTier
  case writeMode, journalLimit, cacheLimit, allowOther, allowNonEmpty, metadataLifetime, attributes, memoryLimit
  case connections, passthrough, caFile, logLevel, logFile, mountTimeout
  case profile, configurationFile, credentialsFile, apiKeyFile, awsProfile, apiURL
}

/// One name under which the user sets a `MountOption`. The table of them (`OptionSpelling.all`) is the only place that
/// names options: the flags, their help, the `-o` names, the keys of the configuration file, docs/configuration.md and
/// the option list of the manual page come from it (`make docs`).
struct OptionSpelling: Sendable {
  /// Whether a value follows the name.
  enum Argument: Hashable, Sendable {
    /// The name alone means this value.
    case none(means: String)
    /// A value follows, called so in the help.
    case value(String)
  }

  /// The name, with hyphens: `--name` as a flag, `name` or `na_me` in `-o`.
  let name: String
  let sets: MountOption
  let argument: Argument
  /// What the help says; without the default.
  let help: String
  /// The default as the help and the man page show it; nil where there is none.
  var defaultText: String?
  /// Environment variables that set it, the strongest first.
  var environment: [String] = []
  /// Whether it makes sense in `-o` (fstab).
  var inOptionList = true
  /// Whether it makes sense in a configuration file.
  var inFile = true
  /// What only the manual says: sentences.
  var details = ""

  /// The help with the default and the variables behind it.
  var fullHelp: String {
    var notes: [String] = []
    if let defaultText { notes.append("default: \(defaultText)") }
    if !environment.isEmpty { notes.append("also from \(environment.joined(separator: ", "))") }
    return notes.isEmpty ? help : "\(help) (\(notes.joined(separator: "; ")))"
  }
}

extension OptionSpelling {
  static let endpoint = OptionSpelling(
    name: "endpoint", sets: .endpoint, argument: .value("url"), help: "The S3 server, as http[s]://host[:port].",
    defaultText: "https://storage.wayscloud.services", environment: ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
  static let region = OptionSpelling(
    name: "region", sets: .region, argument: .value("name"), help: "The region that requests are signed for.",
    defaultText: "eu-north-1", environment: ["AWS_REGION", "AWS_DEFAULT_REGION"])
  static let pathStyle = OptionSpelling(
    name: "path-style", sets: .addressing, argument: .none(means: "path"),
    help: "Put the bucket into the path, https://host/bucket; every S3 server knows this form.",
    defaultText: "this form")
  static let virtualHost = OptionSpelling(
    name: "virtual-host", sets: .addressing, argument: .none(means: "virtual"),
    help: "Put the bucket into the host name, https://bucket.host.")
  static let readOnly = OptionSpelling(
    name: "read-only", sets: .readOnly, argument: .none(means: "yes"), help: "Refuse every change.")
  static let allBuckets = OptionSpelling(
    name: "all", sets: .allBuckets, argument: .none(means: "yes"),
    help: "Mount every bucket of the account, each as a directory.",
    details: """
      There is no bucket to name then; in fstab the first field is '*' or 'none'. The memory, the connections, the journal \
      and the disk cache are those of one mount, which the buckets share; of the connections one alone gets three quarters.
      """)
  static let allowBucketChanges = OptionSpelling(
    name: "allow-bucket-changes", sets: .allowBucketChanges, argument: .none(means: "yes"),
    help: "With --all, let mkdir make buckets and rmdir delete empty ones.",
    details: "The name of a deleted bucket can never be used again.")
  static let bucketTier = OptionSpelling(
    name: "bucket-tier", sets: .bucketTier, argument: .value("tier"),
    help: "How buckets are stored that mkdir makes: standard, or enterprise.", defaultText: "standard",
    details: "Without an API key the server decides.")
  static let foreground = OptionSpelling(
    name: "foreground", sets: .foreground, argument: .none(means: "yes"),
    help: "Stay in the foreground and log to standard error.", inOptionList: false,
    details: "Not with -o.")
  static let cacheDirectory = OptionSpelling(
    name: "cache-dir", sets: .cacheDirectory, argument: .value("directory"),
    help: "Where files being written are kept until they are uploaded.",
    defaultText: "/var/cache/waysfs for root, else $XDG_CACHE_HOME/waysfs or ~/.cache/waysfs",
    details: """
      What could not be uploaded stays there until the next mount takes it up. When it is given, what is read is kept \
      there too, up to the cache limit, across mounts; several mounts may share it.
      """)
  static let writeMode = OptionSpelling(
    name: "write-mode", sets: .writeMode, argument: .value("mode"),
    help: """
      When close returns: close, when the file is in the bucket; writeback, when it is in the journal below the cache \
      directory, and the upload follows in the background.
      """, defaultText: "close",
    details: "In write-back mode fsync waits until the journal is on stable storage.")
  static let journalLimit = OptionSpelling(
    name: "journal-limit", sets: .journalLimit, argument: .value("size"),
    help: "The most space that files being written take in the cache directory: 512MiB, 20G.",
    defaultText: "what leaves 5% of its disk free",
    details: "Who writes more waits for the uploads.")
  static let cacheLimit = OptionSpelling(
    name: "cache-limit", sets: .cacheLimit, argument: .value("size"),
    help: "The most space that is taken to keep what is read in the cache directory: 512MiB, 20G; 0 keeps nothing.",
    defaultText: "with --cache-dir a tenth of its disk, else nothing is kept",
    details: """
      It holds for all mounts that use the directory. What was not used for longest is removed. One object takes half of \
      it at most, and 5% of the disk stay free in any case. Every piece has a checksum, and is fetched again when it is \
      damaged.
      """)
  static let uid = OptionSpelling(
    name: "uid", sets: .uid, argument: .value("number"), help: "The owner of files whose object names none.",
    defaultText: "who mounts")
  static let gid = OptionSpelling(
    name: "gid", sets: .gid, argument: .value("number"), help: "The group of files whose object names none.",
    defaultText: "who mounts")
  static let umask = OptionSpelling(
    name: "umask", sets: .umask, argument: .value("octal"),
    help: "Permission bits taken from files and directories whose object names no mode.", defaultText: "022")
  static let fileMode = OptionSpelling(
    name: "file-mode", sets: .fileMode, argument: .value("octal"),
    help: "The permission bits of files whose object names no mode.", defaultText: "0666 without the umask")
  static let directoryMode = OptionSpelling(
    name: "dir-mode", sets: .directoryMode, argument: .value("octal"),
    help: "The permission bits of directories whose object names no mode.", defaultText: "0777 without the umask")
  static let allowOther = OptionSpelling(
    name: "allow-other", sets: .allowOther, argument: .none(means: "yes"),
    help: "Let other users in; for a user other than root, /etc/fuse.conf must say user_allow_other.")
  static let allowNonEmpty = OptionSpelling(
    name: "nonempty", sets: .allowNonEmpty, argument: .none(means: "yes"),
    help: "Mount on a directory that has entries; they are hidden meanwhile.")
  static let metadataLifetime = OptionSpelling(
    name: "metadata-ttl", sets: .metadataLifetime, argument: .value("duration"),
    help: "For how long names and attributes are believed before the server is asked again: 30, 500ms, 5m.",
    defaultText: "10s",
    details: "Changes made by others appear within this time.")
  static let attributes = OptionSpelling(
    name: "attributes", sets: .attributes, argument: .value("when"),
    help: """
      When modes, owners, times and links are asked for that a listing does not show: auto, in directories that waysfs \
      has marked; always; never.
      """, defaultText: "auto",
    details: """
      Asking takes a request for each object. With auto, what other programs (s3fs) have stored is not shown in \
      directories that waysfs has not written to; with never, attributes cannot be changed.
      """)
  static let memoryLimit = OptionSpelling(
    name: "memory-limit", sets: .memoryLimit, argument: .value("size"),
    help: "The most memory that is used for file contents: 256MiB, 1G.",
    defaultText: "256MiB, or half of what the control group allows where that is less",
    details: """
      K, M, G and T count in powers of 1024, KB, MB, GB and TB in powers of 1000. The process takes up to 64 MiB more for \
      everything else; there is a warning where its control group (cgroups(7)) has no room for that.
      """)
  static let connections = OptionSpelling(
    name: "connections", sets: .connections, argument: .value("number"),
    help: "The most connections to the server at a time.", defaultText: "32")
  static let passthrough = OptionSpelling(
    name: "passthrough", sets: .passthrough, argument: .value("mode"),
    help: """
      Whether the kernel reads files by itself that are whole in the disk cache: always, never, or auto, which is on \
      mounts that are read-only.
      """, defaultText: "auto",
    details: """
      It reads them as fast as local files, once this mount or an earlier one has found all of them right. A program then \
      reads the version it has opened until it closes the file, also when another program on this mount changes the file \
      meanwhile. Needs root, Linux 6.9 and a cache directory that is on no overlay; elsewhere it has no effect.
      """)
  static let caFile = OptionSpelling(
    name: "ca-file", sets: .caFile, argument: .value("file"),
    help: "Certificates (PEM) to trust instead of the system's.", environment: ["AWS_CA_BUNDLE"],
    details: "They count for the storage server and for the control plane.")
  static let logLevel = OptionSpelling(
    name: "log-level", sets: .logLevel, argument: .value("level"),
    help: "How much is logged: \(LogLevelName.all.joined(separator: ", ")).", defaultText: "info")
  static let logFile = OptionSpelling(
    name: "log-file", sets: .logFile, argument: .value("file"),
    help: "Append the log to this file instead of the journal, syslog or standard error.",
    details: """
      Without it, the log goes from the background to the journal of systemd, or else to syslog; from the foreground to \
      standard error, or to the journal where that leads there.
      """)
  static let mountTimeout = OptionSpelling(
    name: "mount-timeout", sets: .mountTimeout, argument: .value("duration"),
    help: "Give up when the mount does not answer within this time.", defaultText: "60s")
  static let profile = OptionSpelling(
    name: "profile", sets: .profile, argument: .value("name"),
    help: "The profile of the configuration file to use beside [default].", environment: ["WAYSFS_PROFILE"],
    inFile: false)
  static let configurationFile = OptionSpelling(
    name: "config", sets: .configurationFile, argument: .value("file"),
    help: "A configuration file to read instead of /etc/waysfs/config and ~/.config/waysfs/config.",
    environment: ["WAYSFS_CONFIG"], inFile: false)
  static let apiKeyFile = OptionSpelling(
    name: "api-key-file", sets: .apiKeyFile, argument: .value("file"),
    help: "A file with the API key of a WAYSCloud account; the key pair is fetched with it.",
    environment: ["WAYSCLOUD_API_KEY_FILE"], details: "Other users must not be able to read it.")
  static let credentialsFile = OptionSpelling(
    name: "credentials-file", sets: .credentialsFile, argument: .value("file"),
    help: "A file with a key pair, in the form of ~/.aws/credentials.",
    details: "Other users must not be able to read it.")
  static let awsProfile = OptionSpelling(
    name: "aws-profile", sets: .awsProfile, argument: .value("name"),
    help: "The profile to take from --credentials-file or from the AWS files.", defaultText: "default",
    environment: ["AWS_PROFILE"])
  static let apiURL = OptionSpelling(
    name: "api-url", sets: .apiURL, argument: .value("url"), help: "The control plane of WAYSCloud.",
    defaultText: "https://api.wayscloud.services", environment: ["WAYSCLOUD_API_URL"],
    details: "Without TLS only on this machine.")

  /// Every option, in the order in which the help shows them.
  static let all: [OptionSpelling] = [
    allBuckets, endpoint, region, pathStyle, virtualHost, readOnly, allowBucketChanges, bucketTier, foreground,
    cacheDirectory, writeMode, journalLimit, cacheLimit,
    uid, gid, umask, fileMode, directoryMode, allowOther, allowNonEmpty, metadataLifetime, attributes, memoryLimit,
    connections, passthrough, caFile, logLevel, logFile, mountTimeout,
    profile, configurationFile, apiKeyFile, credentialsFile, awsProfile, apiURL,
  ]
}
