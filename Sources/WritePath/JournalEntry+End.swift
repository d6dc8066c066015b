import Basics
import SystemPackage

/// What becomes of an entry's files in the end.
extension JournalEntry {
  /// Forgets what was recorded: the bytes are in the bucket, or nobody wants them. The live data stays, and so does
  /// an upload that was noted: it may be of a newer version.
  public func forget() {
    gate.exclusive {
      guard !state.withLock({ $0.isGone }) else { return }
      forgetRecord()
    }
  }

  /// - Returns: false when the record cannot be removed: then its data stays too.
  @discardableResult
  private func forgetRecord() -> Bool {
    guard let record = state.withLock({ $0.record }) else { return true }
    do throws(Errno) {
      try area.disk.remove(recordPath, isSpare: !record.isDurable)
    } catch {
      return false
    }
    state.withLock { state in
      state.record = nil
      // Waited for only when the live bytes are changed next: until then a record that came back would be right.
      state.isSettled = !record.isDurable && state.isSettled
      if let frozen = state.frozen { state.stale.append(frozen) }
      state.frozen = nil
    }
    removeStale()
    return true
  }

  /// Removes everything, and gives its space back. An upload that was noted is the caller's to end before.
  public func discard() {
    gate.exclusive {
      guard !state.withLock({ $0.isGone }) else { return }
      guard forgetRecord() else { return }
      state.withLock { state in
        state.isGone = true
        state.stale.append(state.live)
        state.live.reserved = 0
      }
      removeStale()
      notes.end(removing: true)
    }
  }

  /// Leaves everything where it is, as if the daemon had ended.
  public func leave() {
    gate.exclusive {
      state.withLock { $0.isGone = true }
      notes.end(removing: false)
    }
  }

  /// Gives the live data away to `recovered`, with what is known of it: it is not whole, since a write failed, but not
  /// ours to delete.
  /// - Returns: the version that was recorded before, as if an earlier mount had left it; nil without one.
  @discardableResult
  public func setAside() -> JournalEntry? {
    gate.exclusive {
      let before = state.withLock { state in
        let before = state
        state.isGone = true
        state.live.reserved = 0
        state.frozen?.reserved = 0
        return before
      }
      guard !before.isGone else { return nil }
      // Without a copy, nobody has changed what is recorded.
      if before.record == nil || before.frozen != nil {
        area.copyNotes(number, to: area.recovered, name: before.name ?? before.record?.target.key)
        if let name = before.live.path.lastComponent?.string { try? area.move(name, to: area.recovered) }
        area.space.release(before.live.reserved)
      }
      notes.end(removing: before.record == nil && notes.upload == nil)
      return before.record.map {
        JournalEntry(area: area, number: number, live: before.frozen ?? before.live, record: $0)
      }
    }
  }

  /// Removes what nothing names; what cannot be removed is tried again later.
  func removeStale() {
    var stale = state.withLock { state in
      defer { state.stale = [] }
      return state.stale
    }
    stale.removeAll { data in
      var data = data
      return remove(&data)
    }
    state.withLock { $0.stale += stale }
  }

  @discardableResult
  func remove(_ data: inout JournalData) -> Bool {
    do throws(Errno) {
      try area.disk.remove(data, isSpare: !state.withLock { $0.wasDurable })
    } catch {
      return false
    }
    area.space.release(data.reserved)
    data.reserved = 0
    return true
  }
}
