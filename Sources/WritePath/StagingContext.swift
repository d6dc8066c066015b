public import Basics
public import Logging
public import ObjectStore

/// What all staged files of a mount share. Thread-safe.
public struct StagingContext: Sendable {
  /// Where the bytes come from and go.
  public var store: any ObjectStore
  /// Run part uploads.
  public var workers: WorkerShare
  /// What file contents may take of this process's memory on their way; parts travel from the disk and need none.
  public var memory: ByteBudget
  /// How many full parts of one file may wait for the network before its writer does; nil: as many as the disk holds.
  public var partsAhead: Int?
  /// Where failures are reported that cost no bytes.
  public var log: Logger

  /// Makes a context.
  public init(
    store: any ObjectStore, workers: WorkerShare, memory: ByteBudget, partsAhead: Int? = nil, log: Logger
  ) {
    self.store = store
    self.workers = workers
    self.memory = memory
    self.partsAhead = partsAhead
    self.log = log
  }
}
