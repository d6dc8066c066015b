import Basics
import ObjectStore
import Synchronization

/// Fetching of what a staged file does not have yet, pinned to the version it stands on.
enum BaseFetch {
  /// Bytes fetched at once: long enough to be worth a round trip, short enough to hold in memory.
  static let chunkSize: UInt64 = 8 << 20

  static func fetch(
    _ range: Range<UInt64>, of base: StagingBase, from store: any ObjectStore, _ cancellation: Cancellation?
  ) throws(WriteError) -> [UInt8] {
    let wanted = ByteRange(offset: range.lowerBound, length: range.upperBound - range.lowerBound)
    let bytes: [UInt8]
    do throws(ObjectStoreError) {
      bytes = try store.get(GetRequest(base.key, range: wanted, ifMatch: base.etag), cancellation).bytes
    } catch {
      throw .store(error)
    }
    guard bytes.count == wanted.length.asInt else {
      throw .store(
        ObjectStoreError(
          .corruptResponse, "asked for \(wanted) and got \(bytes.count) bytes", bucket: store.bucket, key: base.key))
    }
    return bytes
  }
}
