public import Basics
public import Logging
public import ObjectStore
import Synchronization
import SystemPackage

extension StagedFile {
  /// Keeps a file whose upload failed where the next mount takes it up: its bytes and a record, both durable.
  ///
  /// The file stays usable; a later successful upload and `discard` remove both.
  public func keep(for target: UploadTarget, condition: WriteCondition, in area: StagingArea) throws(WriteError) {
    let name = path.lastComponent?.string ?? "data"
    let (size, base, present) = state.withLock { ($0.size, $0.base, $0.present) }
    let record = UnsentRecord(
      data: name, target: target, size: size, condition: condition, base: base, present: present)
    do throws(Errno) {
      try area.keep(path, file, record)
    } catch {
      throw .staging(error)
    }
  }
}

extension StagingArea {
  private var unsent: FilePath { directory.appending("unsent") }
  private var recovered: FilePath { directory.appending("recovered") }
  private var quarantine: FilePath { directory.appending("quarantine") }

  /// Links the data into `unsent` and writes the record: temporary name, fsync, rename, fsync of the directory.
  fileprivate func keep(_ path: FilePath, _ file: SharedDescriptor, _ record: UnsentRecord) throws(Errno) {
    try FileSystem.sync(file.descriptor)
    do throws(Errno) {
      try FileSystem.link(path, to: unsent.appending(record.data))
    } catch {
      // It is there from an earlier failure, and is the same file.
      guard error == .fileExists else { throw error }
    }
    let temporary = unsent.appending("\(recordName(record.data)).new")
    try FileSystem.writeDurably(record.encoded, to: temporary)
    try FileSystem.rename(temporary, to: unsent.appending(recordName(record.data)))
    try FileSystem.syncDirectory(unsent)
  }

  /// Forgets a kept file after its bytes have reached the bucket, or when nobody wants them.
  ///
  /// A file that was broken by a failed write after it was kept is neither: it moves to `recovered`.
  public func forget(_ file: StagedFile) {
    guard let name = file.path.lastComponent?.string else { return }
    // The record goes first: data without a record is kept for a person, a record without data is a false alarm.
    try? FileSystem.remove(unsent.appending(recordName(name)))
    if file.failure != nil {
      try? FileSystem.rename(unsent.appending(name), to: recovered.appending(name))
    } else {
      try? FileSystem.remove(unsent.appending(name))
    }
  }

  private func recordName(_ data: String) -> String { "\(data).record" }

  /// Uploads what earlier mounts could not, one file after the other; blocks.
  ///
  /// What still cannot be sent stays. A record that cannot be read is moved to `quarantine` with its data. All of it is
  /// logged.
  /// - Parameter upload: puts one file into the bucket, conflict rules included.
  public func takeUp(
    store: any ObjectStore, workers: WorkerPool, log: Logger,
    upload: (StagedFile, UploadTarget, WriteCondition) throws(WriteError) -> Void
  ) {
    takeUpOwn(store: store, workers: workers, log: log, upload: upload)
    for area in others.withLock({ $0 }) { area.takeUpOwn(store: store, workers: workers, log: log, upload: upload) }
    let recovered = recoveredFiles()
    if !recovered.isEmpty {
      log.warning(
        "a daemon that died left files that were never closed; look at them and remove them",
        metadata: [
          "files": "\(recovered.count)",
          "kept": "\(Set(recovered.map { "\($0.removingLastComponent())" }).sorted().joined(separator: ", "))",
        ])
    }
    // What still cannot be sent waits there for the next mount.
    others.withLock { $0 = [] }
  }

  private func takeUpOwn(
    store: any ObjectStore, workers: WorkerPool, log: Logger,
    upload: (StagedFile, UploadTarget, WriteCondition) throws(WriteError) -> Void
  ) {
    // Later numbers are of this mount, which sends them itself.
    let names = ((try? FileSystem.names(in: unsent)) ?? []).filter { name in
      Self.number(of: name).map { $0 <= lastNumberOfBefore } ?? true
    }
    for name in names where name.hasSuffix(".data.record") {
      guard let (record, file) = open(record: name, log) else { continue }
      let staged = StagedFile(
        file: file, path: unsent.appending(record.data), restoring: record, store: store, workers: workers, log: log)
      do throws(WriteError) {
        try upload(staged, record.target, record.condition)
        forget(staged)
        log.notice(
          "a file that an earlier mount could not send is in the bucket now",
          metadata: ["key": "\(record.target.key)"])
      } catch {
        // The next mount begins anew, so the parts that have arrived are of no use.
        staged.giveUpUpload()
        log.error(
          "a file of an earlier mount still cannot be sent; it is kept",
          metadata: [
            "key": "\(record.target.key)", "kept": "\(unsent.appending(record.data))", "cause": "\(error)",
          ])
      }
    }
    // Data whose record was never finished: nobody was told that it is safe, but it is not ours to delete.
    for name in names where name.hasSuffix(".data") && !names.contains(recordName(name)) {
      try? FileSystem.rename(unsent.appending(name), to: recovered.appending(name))
    }
    for name in names where name.hasSuffix(".record.new") {
      try? FileSystem.rename(unsent.appending(name), to: quarantine.appending(name))
    }
  }

  private func open(record name: String, _ log: Logger) -> (UnsentRecord, SharedDescriptor)? {
    let path = unsent.appending(name)
    let data = String(name.dropLast(".record".count))
    do {
      if let text = try FileSystem.read(path), let record = UnsentRecord(decoding: text),
        record.data.utf8.elementsEqual(data.utf8)
      {
        let file = SharedDescriptor(
          owning: try FileDescriptor.open(unsent.appending(data), .readWrite, options: .closeOnExec))
        // Shorter than what the record says is here, it would be sent with zeros at its end.
        if try file.descriptor.seek(offset: 0, from: .end) >= record.present.ranges.last?.upperBound.asInt ?? 0 {
          return (record, file)
        }
      }
    } catch {
      // Only a file that is not there is damage; what cannot be opened now may be at the next mount.
      guard error as? Errno == .noSuchFileOrDirectory else {
        log.error(
          "an unsent file cannot be opened; it is kept", metadata: ["kept": "\(path)", "cause": "\(error)"])
        return nil
      }
    }
    try? FileSystem.rename(path, to: quarantine.appending(name))
    try? FileSystem.rename(unsent.appending(data), to: quarantine.appending(data))
    log.error(
      "the record of an unsent file cannot be read, or its data is not whole; both are set aside",
      metadata: ["kept": "\(quarantine.appending(data))"])
    return nil
  }
}
