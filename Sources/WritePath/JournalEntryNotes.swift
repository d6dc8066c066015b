import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage

/// The notes file of one entry: opened with the first note, appended to, one write for each line.
///
/// Best effort: a note that cannot be written costs repeated work. Thread-safe. Lock order: `gate` (held across the
/// write), then `state`.
final class JournalEntryNotes: Sendable {
  fileprivate struct State {
    var file: SharedDescriptor?
    var name: ObjectKey?
    var upload: MultipartUpload?
    var isGone = false
    /// Whether there may be a file.
    var isThere: Bool
  }

  private let path: FilePath
  private let disk: JournalDisk
  private let gate = AccessGate()
  private let state: Mutex<State>

  /// The notes at `path`.
  /// - Parameters:
  ///   - isThere: there may be such a file.
  ///   - upload: the one that stands in it.
  init(path: FilePath, disk: JournalDisk, isThere: Bool, upload: MultipartUpload? = nil) {
    self.path = path
    self.disk = disk
    state = Mutex(State(upload: upload, isThere: isThere))
  }

  /// Whether there may be a file.
  var isThere: Bool { state.withLock { $0.isThere } }

  /// Whether the name stands here.
  var hasName: Bool { state.withLock { $0.name != nil } }

  /// The upload that was noted and has not ended.
  var upload: MultipartUpload? { state.withLock { $0.upload } }

  func note(_ note: JournalNote) {
    gate.exclusive {
      let (line, file): (String?, SharedDescriptor?) = state.withLock { state in
        guard !state.isGone, !state.has(note) else { return (nil, nil) }
        return (JournalNotes.line(note, upload: state.upload), state.file)
      }
      guard let line else { return }
      do throws(Errno) {
        var text = line
        let open: SharedDescriptor
        if let file {
          open = file
        } else {
          state.withLock { $0.isThere = true }
          open = try JournalDisk.open(path, O_WRONLY | O_CREAT | O_APPEND)
          // The line of a daemon that died may have no end.
          if try JournalDisk.status(open).length > 0 { text = "\n" + text }
        }
        try disk.append(Array(text.utf8), to: open)
        state.withLock { state in
          state.file = open
          state.noted(note)
        }
      } catch {
        // Opened again with the next note, which then begins a line of its own.
        state.withLock { $0.file = nil }
      }
    }
  }

  /// Takes no more notes. The file stays, when it must.
  func end(removing: Bool) {
    gate.exclusive {
      state.withLock { state in
        state.isGone = true
        state.file = nil
      }
      if removing, isThere { try? disk.remove(path) }
    }
  }
}

extension JournalEntryNotes.State {
  /// Whether the note says nothing new.
  fileprivate func has(_ note: JournalNote) -> Bool {
    switch note {
    case .name(let key): name == key
    case .upload(let begun): upload == begun
    case .part, .expected, .stored, .scratch: false
    case .uploadEnded: upload == nil
    }
  }

  fileprivate mutating func noted(_ note: JournalNote) {
    switch note {
    case .name(let key): name = key
    case .upload(let begun): upload = begun
    case .part, .expected, .stored, .scratch: break
    case .uploadEnded: upload = nil
    }
  }
}
