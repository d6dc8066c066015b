public import Basics
import BlockCache
public import ObjectStore

extension ObjectReader {
  /// Brings a range of the object, clipped to it, into the disk cache, and blocks until it is there: what the cache lacks
  /// is fetched, past the memory cache and at most a quarter of it at a time. Never call it on the store's thread.
  /// - Returns: how many bytes of the range's granules of 64 KiB are in the disk cache now: fewer than all when it has no
  ///   room or its disk fails; nil when there is no disk cache.
  public func warm(range: ByteRange, _ cancellation: Cancellation? = nil) throws(ObjectStoreError) -> UInt64? {
    guard let disk = object.disk, !disk.cache.isOff, let identity = object.state.withLock({ $0.identity }) else {
      return nil
    }
    guard range.offset < object.size, range.length > 0 else { return 0 }
    let range = ByteRange(offset: range.offset, length: min(range.length, object.size - range.offset))
    let wanted = Granules.covering(range)
    var next = wanted.lowerBound
    for run in disk.cache.present(wanted, of: identity) + [wanted.upperBound..<wanted.upperBound] {
      if next < run.lowerBound { try fetch(next..<run.lowerBound, into: disk.cache, identity, cancellation) }
      next = run.upperBound
    }
    return disk.cache.cachedBytes(of: identity, wanted)
  }

  private func fetch(
    _ granules: Range<UInt64>, into cache: DiskCache, _ identity: CacheIdentity, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) {
    let start = granules.lowerBound * Granules.size
    let range = ByteRange(offset: start, length: min(granules.upperBound * Granules.size, object.size) - start)
    let copy = RangeCopy(object: object, range: range, parallelism: copyParallelism)
    let token = cancellation?.addHandler { copy.cancellation.cancel() }
    defer { cancellation?.removeHandler(token) }
    do throws(RangeCopyError) {
      try copy.run { bytes, offset in
        let first = offset / Granules.size
        let end = (offset + UInt64(bytes.count) + Granules.size - 1) / Granules.size
        cache.write(first..<end, of: identity, bytes, makesRoom: true)
      }
    } catch {
      guard case .store(let cause) = error else { return }
      throw cause
    }
  }
}

extension ReadPath {
  /// Puts an object that is here in some other way, such as one that was just uploaded, into the disk cache, in the
  /// background and only if that has time for it.
  public func keep(_ source: any WholeObjectSource, key: ObjectKey, etag: ETag, size: UInt64) {
    guard let disk, !disk.cache.isOff, size > 0 else { return }
    disk.keep(
      source, as: disk.cache.identity(of: ObjectVersion(bucket: store.bucket, key: key, etag: etag), size: size))
  }
}
