public import Basics

/// What `close` and `fsync` wait for.
public enum WriteMode: String, Hashable, Sendable, CaseIterable {
  /// The bucket.
  case close
  /// The journal on this machine; uploads follow in the background.
  case writeback
}

/// How a bucket is shown.
public struct FilesystemConfiguration: Sendable {
  /// What all keys start with: empty, or ending in `/`.
  public var prefix: String
  /// Owner of what carries no owner of its own.
  public var uid: UInt32
  /// Group of what carries no group of its own.
  public var gid: UInt32
  /// Permission bits of files that carry none.
  public var fileMode: UInt32
  /// Permission bits of directories that carry none.
  public var directoryMode: UInt32
  /// For how many seconds what was learnt from the bucket is believed; 0 asks every time.
  public var metadataLifetime: Double
  /// How attributes are found out that a listing does not show.
  public var attributes: AttributesMode
  /// Refuses every change with EROFS.
  public var readOnly: Bool
  /// This machine's name, for the names of conflict copies.
  public var host: String
  /// What `close` and `fsync` wait for.
  public var writeMode: WriteMode
  /// How long a closed file rests before its upload begins in write-back mode, in seconds: programs that set its times
  /// or its final name right after closing it then cost no request of their own.
  public var uploadDelay: Double
  /// Finds out what the server can do as soon as a file is opened to be written, not when it is uploaded.
  public var probesEarly = true
  /// Requests under way at once for one listing or rename.
  public var parallelRequests: Int
  /// The clocks.
  public var time: TimeSource

  /// A configuration with the defaults of `waysfs mount`.
  public init(
    prefix: String = "", uid: UInt32 = 0, gid: UInt32 = 0, fileMode: UInt32 = 0o644, directoryMode: UInt32 = 0o755,
    metadataLifetime: Double = 10, attributes: AttributesMode = .auto, readOnly: Bool = false,
    host: String = "localhost", writeMode: WriteMode = .close, uploadDelay: Double = 0.5, parallelRequests: Int = 48,
    time: TimeSource = .system
  ) {
    self.prefix = prefix
    self.uid = uid
    self.gid = gid
    self.fileMode = fileMode
    self.directoryMode = directoryMode
    self.metadataLifetime = metadataLifetime
    self.attributes = attributes
    self.readOnly = readOnly
    self.host = host
    self.writeMode = writeMode
    self.uploadDelay = uploadDelay
    self.parallelRequests = parallelRequests
    self.time = time
  }
}
