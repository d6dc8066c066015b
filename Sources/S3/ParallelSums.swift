import Basics
import CChecksum
import ObjectStore

/// A range of a local file, in bytes.
struct FileRange: Sendable {
  let file: SharedDescriptor
  let offset: UInt64
  let length: UInt64
}

/// MD5 of several ranges at once.
enum ParallelSums {
  /// How many at most.
  static let lanes = Int(cchecksum_md5_lanes)
  /// What is read of each at a time, in bytes: together they stay in the processor's cache.
  static let chunk = 32 << 10

  /// Computes the sums on the calling thread.
  /// - Parameter report: called once for each range, as soon as its sum is there; `localReadFailed` is the only error.
  static func compute(
    _ ranges: [FileRange], _ report: (_ index: Int, Result<[UInt8], ObjectStoreError>) -> Void
  ) {
    precondition(ranges.count <= lanes)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: lanes * chunk, alignment: 64)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0)
    let rows = (0..<lanes).map { UnsafeMutableRawBufferPointer(rebasing: buffer[$0 * chunk..<($0 + 1) * chunk]) }
    let messages = rows.compactMap { UnsafeRawPointer($0.baseAddress) }
    var state = cchecksum_md5_state()
    for lane in ranges.indices { cchecksum_md5_begin(&state, lane) }
    var active = Array(ranges.indices)
    var done: UInt64 = 0
    while !active.isEmpty {
      active.removeAll { lane in
        let range = ranges[lane]
        let count = Int(min(UInt64(chunk), range.length - done))
        do throws(ObjectStoreError) {
          try range.file.fill(UnsafeMutableRawBufferPointer(rebasing: rows[lane][..<count]), at: range.offset &+ done)
        } catch {
          report(lane, .failure(error))
          return true
        }
        guard count < chunk else { return false }
        var sum = [UInt8](repeating: 0, count: 16)
        cchecksum_md5_end(&state, lane, messages[lane], count, range.length, &sum)
        report(lane, .success(sum))
        return true
      }
      cchecksum_md5_update(&state, messages, chunk / Int(cchecksum_md5_block))
      done += UInt64(chunk)
    }
  }
}

extension SharedDescriptor {
  /// Reads exactly so many bytes of a body.
  fileprivate func fill(_ target: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ObjectStoreError) {
    var done = 0
    while done < target.count {
      done += try read(UnsafeMutableRawBufferPointer(rebasing: target[done...]), at: offset &+ UInt64(done))
    }
  }
}
