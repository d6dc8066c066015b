public import BlockCache
public import SystemPackage

/// A local file with the bytes of one version of an object and nothing else, so that the kernel may read it in our place.
///
/// Its bytes and length never change as long as this object lives, whatever happens to the file's name.
public protocol BackingFile: AnyObject, Sendable {
  /// Open for reading.
  var descriptor: FileDescriptor { get }
}

/// Where such files come from. Thread-safe.
public protocol BackingFileSource: Sendable {
  /// The file of a version, when all of it is here and every byte was checked by this process. Asks nobody over the
  /// network; may make a few system calls, and is called with no lock held.
  func wholeFile(_ version: ObjectVersion, size: UInt64) -> (any BackingFile)?
}

/// The number under which the kernel knows a backing file.
public struct BackingID: Hashable, Sendable {
  /// The number, above 0.
  public let value: Int32
  /// Wraps a number.
  public init(_ value: Int32) { self.value = value }
}

/// How the kernel is told of files that it may read by itself. Thread-safe; called with no lock held.
public protocol KernelPassthrough: Sendable {
  /// Makes a file known; its descriptor may be closed afterwards.
  /// - Throws: EOPNOTSUPP where the kernel or the mount's options do not allow it, EPERM without CAP_SYS_ADMIN, ELOOP for
  ///   a file on an overlay: then no other file will do either.
  func openBacking(_ file: FileDescriptor) throws(Errno) -> BackingID
  /// Takes the number back; what is open with it stays open.
  func closeBacking(_ id: BackingID)
}

extension HeldFile: BackingFile {}

extension DiskCache: BackingFileSource {
  /// The file of an object in this cache.
  public func wholeFile(_ version: ObjectVersion, size: UInt64) -> (any BackingFile)? {
    wholeFile(of: identity(of: version, size: size))
  }
}
