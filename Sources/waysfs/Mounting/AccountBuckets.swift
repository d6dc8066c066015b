import AccountTree
import Basics
import Logging
import ObjectStore
import S3
import SystemPackage
import WAYSCloud

/// The buckets of an account as the control plane knows them. Thread-safe.
struct AccountBuckets: BucketDirectory {
  let account: Account
  /// How new ones are stored.
  let tier: StorageTier
  let log: Logger

  /// Which there are, for a mount that is being made.
  func first(_ cancellation: Cancellation) throws(Failure) -> BucketAnswer {
    try account.call("no list of the buckets from \(account.baseURL)") { plane throws(ControlPlaneError) in
      BucketAnswer(try plane.listBuckets(cancellation: cancellation))
    }
  }

  func list() throws(Errno) -> BucketAnswer {
    do throws(ControlPlaneError) {
      return BucketAnswer(try account.ask { plane throws(ControlPlaneError) in try plane.listBuckets() })
    } catch {
      throw report("listing the buckets", error)
    }
  }

  func details(of name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket? {
    do throws(ControlPlaneError) {
      return AccountBucket(
        try account.ask { plane throws(ControlPlaneError) in
          try plane.bucket(named: name, cancellation: cancellation)
        })
    } catch {
      throw report("asking for a bucket", error, name)
    }
  }

  func make(_ name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket {
    do throws(ControlPlaneError) {
      return try account.ask { plane throws(ControlPlaneError) in
        do throws(ControlPlaneError) {
          let made = try plane.createBucket(named: name, tier: tier, cancellation: cancellation)
          return AccountBucket(new: name, region: made.region, tier: tier)
        } catch {
          // The answer got lost: nobody but this call can have made one that is ours and was not there before.
          guard error.mayBeApplied, let found = try? plane.bucket(named: name) else { throw error }
          return AccountBucket(found)
        }
      }
    } catch {
      throw report("making a bucket", error, name, conflict: .fileExists)
    }
  }

  func remove(_ name: String, _ cancellation: Cancellation?) throws(Errno) {
    do throws(ControlPlaneError) {
      try account.ask { plane throws(ControlPlaneError) in
        do throws(ControlPlaneError) {
          _ = try plane.deleteBucket(named: name, cancellation: cancellation)
        } catch {
          // The answer got lost: it was there before, so that it is gone by this call.
          guard error.mayBeApplied, plane.knowsOfNo(name) else { throw error }
        }
      }
    } catch {
      throw report("removing a bucket", error, name, conflict: .directoryNotEmpty)
    }
  }

  private func report(
    _ what: String, _ error: ControlPlaneError, _ bucket: String? = nil, conflict: Errno = .resourceBusy
  ) -> Errno {
    log.warnOfFailure(what, bucket, "\(error)")
    return switch error.code {
    case .conflict: conflict
    case .notFound: .noSuchFileOrDirectory
    case .unauthorized, .forbidden: .permissionDenied
    case .invalid, .invalidName: .invalidArgument
    case .rateLimited: .resourceBusy
    case .timedOut: .timedOut
    case .cancelled: .interrupted
    case .configuration, .server, .unreachable, .malformedResponse: .ioError
    }
  }
}

extension ControlPlane {
  /// Whether it says that there is no such bucket.
  fileprivate func knowsOfNo(_ name: String) -> Bool {
    do throws(ControlPlaneError) {
      _ = try bucket(named: name)
      return false
    } catch {
      return error.code == .notFound
    }
  }
}

/// The buckets that a key pair may see on an S3 server. Thread-safe.
struct ServerBuckets: BucketDirectory {
  let client: S3Client
  let log: Logger

  /// Which there are, for a mount that is being made.
  func first(_ settings: MountSettings, _ cancellation: Cancellation) throws(Failure) -> BucketAnswer {
    do throws(ObjectStoreError) {
      return try answer(cancellation)
    } catch {
      throw Failure(error, settings: settings)
    }
  }

  func list() throws(Errno) -> BucketAnswer {
    do throws(ObjectStoreError) {
      return try answer(nil)
    } catch {
      throw log.report("listing the buckets", error)
    }
  }

  func details(of name: String, _ cancellation: Cancellation?) -> AccountBucket? { nil }

  private func answer(_ cancellation: Cancellation?) throws(ObjectStoreError) -> BucketAnswer {
    BucketAnswer(
      try waitFor { client.listBuckets(cancellation, $0) }.map { info in
        var bucket = AccountBucket(name: info.name)
        bucket.created = info.created
        return bucket
      })
  }

  func make(_ name: String, _ cancellation: Cancellation?) throws(Errno) -> AccountBucket {
    do throws(ObjectStoreError) {
      try waitFor { client.createBucket(name, cancellation, $0) }
      return AccountBucket(new: name)
    } catch {
      throw log.report("making a bucket", error, name, conflict: .fileExists)
    }
  }

  func remove(_ name: String, _ cancellation: Cancellation?) throws(Errno) {
    do throws(ObjectStoreError) {
      try waitFor { client.deleteBucket(name, cancellation, $0) }
    } catch {
      throw log.report("removing a bucket", error, name, conflict: .directoryNotEmpty)
    }
  }
}

extension Logger {
  fileprivate func warnOfFailure(_ what: String, _ bucket: String?, _ cause: String) {
    var metadata: Metadata = ["cause": "\(cause)"]
    if let bucket { metadata["bucket"] = "\(bucket)" }
    warning("\(what) failed", metadata: metadata)
  }

  fileprivate func report(
    _ what: String, _ error: ObjectStoreError, _ bucket: String? = nil, conflict: Errno? = nil
  ) -> Errno {
    warnOfFailure(what, bucket, "\(error)")
    switch error.code {
    // Somebody makes or deletes one of that name in this moment.
    case .conflict where error.serverCode == "OperationAborted": return .resourceBusy
    case .conflict: return conflict ?? Errno(error)
    case .noSuchBucket: return .noSuchFileOrDirectory
    default: return Errno(error)
    }
  }
}

extension BucketAnswer {
  init(_ list: BucketList) {
    self.init(list.buckets.map(AccountBucket.init), isWhole: (list.total ?? 0) <= list.buckets.count)
  }
}

extension AccountBucket {
  init(_ bucket: Bucket) {
    self.init(name: bucket.name)
    created = bucket.createdAt.flatMap(parseISODate)
    createdText = bucket.createdAt
    region = bucket.region
    objectCount = bucket.objectCount
    sizeBytes = bucket.sizeBytes
    isPublic = bucket.isPublic
  }

  /// One that was made just now.
  init(new name: String, region: String? = nil, tier: StorageTier? = nil) {
    self.init(name: name)
    created = TimeSource.system.wall
    self.region = region
    self.tier = tier?.rawValue
    (objectCount, sizeBytes) = (0, 0)
  }
}
