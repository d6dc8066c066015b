import ObjectStore

/// Checks what a store delivers and copies it to where it belongs.
///
/// Bytes of another version, or at the wrong place, must never get in, whatever the server or the store does.
struct BodyReceiver {
  /// The first byte that has not arrived.
  private(set) var next: UInt64 = 0
  /// One past the last byte.
  private(set) var end: UInt64 = 0
  /// Why the body is refused.
  private(set) var rejection: (code: ObjectStoreError.Code, message: String)?
  private var hasBegun = false

  /// Expects nothing.
  init() {}

  /// Expects the bytes of `range`, which is not empty.
  init(expecting range: ByteRange) {
    next = range.offset
    end = range.end
  }

  var range: ByteRange { ByteRange(offset: next, length: end - next) }

  /// False when the body is refused.
  mutating func begin(metadata: ObjectMetadata, range: ByteRange, etag: ETag, size: UInt64) -> Bool {
    if metadata.etag != etag || metadata.size != size {
      return reject(.preconditionFailed, "The object is another version now.")
    }
    if range.offset != next || range.length != end - next {
      return reject(.corruptResponse, "The store delivers \(range) instead of \(self.range).")
    }
    hasBegun = true
    return true
  }

  /// Copies bytes; `memory` is the room from an offset on to the end of its block. False when the body is refused.
  mutating func receive(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, memory: (UInt64) -> UnsafeMutableRawBufferPointer
  ) -> Bool {
    guard rejection == nil else { return false }
    guard hasBegun, offset == next, UInt64(bytes.count) <= end - next else {
      return reject(.corruptResponse, "The store delivered bytes that were not expected.")
    }
    var rest = bytes[...]
    while !rest.isEmpty {
      let room = memory(next)
      let count = min(rest.count, room.count)
      UnsafeMutableRawBufferPointer(rebasing: room[..<count])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest.prefix(count)))
      rest = rest.dropFirst(count)
      next += UInt64(count)
    }
    return true
  }

  /// What a GET that ended with `result` really brought; nil when every byte is there.
  func failure(after result: Result<ObjectMetadata, ObjectStoreError>, _ object: SharedObject) -> ObjectStoreError? {
    if let rejection {
      let error = object.error(rejection.code, rejection.message)
      object.log.warning("a body was refused", metadata: ["error": "\(error)"])
      return error
    }
    switch result {
    case .failure(let error): return error
    case .success where next < end:
      return object.error(.corruptResponse, "The store reported success before all bytes were there.")
    case .success: return nil
    }
  }

  private mutating func reject(_ code: ObjectStoreError.Code, _ message: String) -> Bool {
    rejection = rejection ?? (code, message)
    return false
  }
}
