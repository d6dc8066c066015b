public import Basics
import ObjectStore
import SystemPackage

/// Bringing bytes of the base here.
extension StagedFile {
  /// Fetches what is missing of a range from the base, so that all of it is here.
  public func fill(_ range: Range<UInt64>, _ cancellation: Cancellation?) throws(WriteError) {
    try fill(range, writersWait: false, cancellation)
  }

  /// `fill`, for a caller that may already keep the writers waiting.
  func fill(_ range: Range<UInt64>, writersWait: Bool, _ cancellation: Cancellation?) throws(WriteError) {
    while true {
      let (missing, base): (Range<UInt64>?, StagingBase?) = state.withLock { state in
        let range = range.clamped(to: 0..<state.size)
        return (state.present.gaps(in: range).first, state.base)
      }
      guard let missing, let base else { return }
      let piece = missing.lowerBound..<min(missing.upperBound, missing.lowerBound + BaseFetch.chunkSize)
      do throws(WriteError) {
        if writersWait {
          // Without asking for memory: who has some may be waiting for the gate that is held here.
          try adopt(try BaseFetch.fetch(piece, of: base, from: context.store, cancellation), at: piece, from: base)
        } else {
          try context.memory.holding(piece.upperBound - piece.lowerBound) { () throws(WriteError) in
            let bytes = try BaseFetch.fetch(piece, of: base, from: context.store, cancellation)
            try writing.exclusive { () throws(WriteError) in try adopt(bytes, at: piece, from: base) }
          }
        }
      } catch {
        // Renamed meanwhile: the same bytes are elsewhere now.
        if case .store = error, state.withLock({ $0.base != base }) { continue }
        throw error
      }
    }
  }

  /// Takes fetched bytes in where nothing was written meanwhile; writers are kept out. The version that the journal has
  /// a record of is not harmed: these bytes are not among those it counts as here.
  private func adopt(_ bytes: [UInt8], at piece: Range<UInt64>, from base: StagingBase) throws(WriteError) {
    let wanted: [Range<UInt64>] = state.withLock { state in
      state.base == base ? state.present.gaps(in: piece.clamped(to: 0..<state.size)) : []
    }
    for range in wanted {
      let start = (range.lowerBound - piece.lowerBound).asInt
      let count = (range.upperBound - range.lowerBound).asInt
      do {
        entry.account(UInt64(count))
        try bytes.withUnsafeBytes { bytes in
          try FileSystem.write(
            UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]), to: entry.file.descriptor,
            at: range.lowerBound)
        }
      } catch {
        // The program's bytes are untouched: only this operation fails.
        throw .staging(error as? Errno ?? .ioError)
      }
      state.withLock { state in
        state.writes += 1
        state.present.insert(range)
        state.allocated.insert(range)
      }
    }
  }
}
