import Basics
import ObjectStore
import ReadPath
public import SystemPackage
import WritePath

/// What goes into the disk cache otherwise than by being read.
extension Filesystem {
  /// Brings a range of a file into the disk cache.
  public func warm(
    _ handle: HandleID, offset: UInt64, length: UInt64, _ context: CallContext
  ) throws(Errno) -> UInt64 {
    guard let file = handles.file(handle) else { throw .badFileDescriptor }
    let (version, isChanging, epoch) = file.content.withState {
      ($0.version, $0.staged?.isDirty ?? false, $0.epoch)
    }
    guard epoch == file.epoch else { throw .staleNFSFileHandle }
    // The version to come has no name yet under which it could be kept.
    guard let version, !isChanging else { throw .resourceBusy }
    guard let path = tree.view(file.inode)?.path else { throw .staleNFSFileHandle }
    // A reader of its own: this is no stream to fetch ahead of.
    let reader = readPath.open(key: key(path), etag: version.etag, size: version.size)
    defer { reader.close() }
    let bytes: UInt64?
    do throws(ObjectStoreError) {
      let length = min(length, Self.longestWarmUp)
      bytes = try reader.warm(range: ByteRange(offset: offset, length: length), context.cancellation)
    } catch {
      throw log.report("warm", error)
    }
    guard let bytes else { throw .notSupported }
    return bytes
  }

  /// It blocks a thread for requests, which others need again.
  private static let longestWarmUp: UInt64 = 64 << 20

  /// Puts what was just uploaded into the disk cache, if all of it is here; in the background.
  func keepForReading(_ staged: StagedFile, _ stored: FileVersion, under key: ObjectKey) {
    guard let bytes = staged.storedBytes, bytes.size == stored.size else { return }
    readPath.keep(UploadedObject(bytes: bytes), key: key, etag: stored.etag, size: stored.size)
  }
}

private struct UploadedObject: WholeObjectSource {
  let bytes: StoredBytes

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Bool {
    bytes.read(into: buffer, at: offset)
  }

  func isUnchanged() -> Bool { bytes.areUnchanged() }
}
