public import Basics
public import ObjectStore

/// Keeping both versions when somebody else changed the object first.
public enum Conflict {
  /// Stores a file beside its name, under a conflict name nobody has; blocks. It is retired then: what is written to it
  /// later would reach neither name.
  /// - Parameter version: only these bytes, as told by `recordedChanges`; with newer ones it throws `superseded`.
  /// - Returns: the key it has now.
  public static func store(
    _ staged: StagedFile, _ target: UploadTarget, host: String, time: TimeSource, conditions: ConditionalWrites,
    version: UInt64? = nil
  ) throws(WriteError) -> ObjectKey {
    let attempts = 9
    for attempt in 1...attempts {
      var target = target
      target.key = ConflictName.key(for: target.key, host: host, at: time.wall, attempt: attempt)
      do throws(WriteError) {
        _ = try staged.upload(
          UploadOrder(target, condition: .ifAbsent, conditions: conditions, retires: true, version: version))
        return target.key
      } catch {
        // With another key it is the version the file was made from that is gone: no other name helps.
        guard attempt < attempts, case .store(let cause) = error, cause.code == .preconditionFailed,
          cause.key == nil || cause.key == target.key
        else {
          // Parts under that name are of no use to a later try.
          staged.giveUpUpload()
          throw error
        }
      }
    }
    throw .store(ObjectStoreError(.conflict, "no name is free for a conflict copy", key: target.key))
  }
}
