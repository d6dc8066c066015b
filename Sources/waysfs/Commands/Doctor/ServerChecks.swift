import Basics
import HTTPTransport
import Logging
import ObjectStore
import S3

/// Whether the control plane and the storage server answer, and how.
struct ServerChecks {
  let plan: MountPlan
  /// Nil to ask no bucket.
  let bucket: BucketReference?
  let writes: Bool
  var time = TimeSource.system

  /// Seconds the clocks may be apart before it is worth a word, and before servers refuse (S3: 15 minutes).
  private static let skewWarning: Int64 = 60
  private static let skewError: Int64 = 900

  func run(_ report: (Finding) -> Void) {
    // The words for people are in the findings.
    let log = Logger(label: "waysfs") { _ in SwiftLogNoOpLogHandler() }
    guard let (settings, keys) = credentials(log, report) else { return }
    var configuration = HTTPTransport.Configuration()
    configuration.caFile = settings.caFile
    do throws(Failure) {
      let transport = try Composition.start(configuration)
      defer { transport.shutdown() }
      guard reach(settings, transport, report) else { return }
      let retry = RetryPolicy(maximumAttempts: 3, maximumDelay: 1)
      let client = try Composition.client(settings, keys, transport, retry, log)
      guard let bucket else { return try listBuckets(client, settings, report) }
      let store = client.bucket(bucket.bucket)
      guard read(store, bucket, settings, report) else { return }
      if writes {
        WriteChecks(store: store, prefix: bucket.prefix, settings: settings).run(report)
      } else {
        report(Finding(.ok, "writing", "is not tried without --write"))
      }
    } catch {
      report(Finding("storage server", error))
    }
  }

  private func credentials(
    _ log: Logger, _ report: (Finding) -> Void
  ) -> (MountSettings, any CredentialsProvider)? {
    let isFetched =
      if case .controlPlane = plan.credentials.source { true } else { false }
    do throws(Failure) {
      let begin = time.monotonic
      let found = try Composition.credentials(plan, log, Cancellation(), { _ in })
      if isFetched {
        let place = plan.settings.controlPlane.description
        report(
          Finding(.ok, "control plane", "\(place) accepts the API key and answers in \(milliseconds(since: begin))"))
      }
      return found
    } catch {
      report(Finding(isFetched ? "control plane" : "credentials", error))
      return nil
    }
  }

  /// Any answer will do: who may ask what comes later.
  private func reach(_ settings: MountSettings, _ transport: HTTPTransport, _ report: (Finding) -> Void) -> Bool {
    let request = HTTPRequest(
      .get, "\(settings.endpoint)/", deadlines: HTTPDeadlines(connect: 10, stall: 10, total: 20))
    let begin = time.monotonic
    do throws(HTTPError) {
      let response = try waitFor { completion in
        transport.send(
          request, cancellation: nil, destination: { _ in .collect(limit: 1 << 20) }, completion: completion)
      }
      report(Finding(.ok, "storage server", "\(settings.endpoint) answers in \(milliseconds(since: begin))"))
      report(clock(response.head["Date"].flatMap(parseHTTPDate), now: time.wall))
      return true
    } catch {
      let remedy =
        error.code == .tls
        ? "For a server with a certificate of your own authority give its file with --ca-file"
        : "Check the network and the address given with --endpoint"
      report(Finding(.error, "storage server", "\(settings.endpoint): \(error.message)", remedy: remedy))
      return false
    }
  }

  private func clock(_ server: Timestamp?, now: Timestamp) -> Finding {
    guard let server else {
      return Finding(
        .warning, "clock", "the server does not tell the time",
        remedy: "See to it yourself that this machine's is right")
    }
    return Self.clock(aheadBy: now.seconds - server.seconds)
  }

  /// - Parameter aheadBy: seconds that this machine is ahead of the server; negative when it is behind.
  static func clock(aheadBy difference: Int64) -> Finding {
    let distance = difference.magnitude
    let side = difference < 0 ? "behind" : "ahead of"
    let text = "this machine's is \(DurationText.text(seconds: Double(distance))) \(side) the server's"
    let remedy = "Set it, for example by NTP"
    if distance >= skewError { return Finding(.error, "clock", "\(text), and servers refuse that", remedy: remedy) }
    if distance >= skewWarning { return Finding(.warning, "clock", text, remedy: remedy) }
    return Finding(.ok, "clock", "agrees with the server's")
  }

  private func listBuckets(
    _ client: S3Client, _ settings: MountSettings, _ report: (Finding) -> Void
  ) throws(Failure) {
    do throws(ObjectStoreError) {
      let buckets = try waitFor { client.listBuckets(nil, $0) }
      report(
        Finding(.ok, "key pair", "is accepted; it sees \(buckets.count) \(buckets.count == 1 ? "bucket" : "buckets")"))
    } catch {
      // A key pair for one bucket may not list all.
      guard error.code == .accessDenied else { throw Failure(error, settings: settings) }
      report(Finding(.warning, "key pair", "it may not list the buckets", remedy: "Name a bucket to check that one"))
    }
  }

  private func read(
    _ store: S3Bucket, _ bucket: BucketReference, _ settings: MountSettings, _ report: (Finding) -> Void
  ) -> Bool {
    let begin = time.monotonic
    do throws(ObjectStoreError) {
      let page = try store.list(ListRequest(prefix: bucket.prefix, delimited: false, limit: 10))
      report(Finding(.ok, "bucket", "\(bucket) can be listed, in \(milliseconds(since: begin))"))
      guard let entry = page.entries.first(where: { $0.size > 0 }) else {
        report(Finding(.ok, "reading", "there is nothing to read yet"))
        return true
      }
      let first = time.monotonic
      _ = try store.get(GetRequest(entry.key, range: ByteRange(offset: 0, length: 1)))
      report(Finding(.ok, "reading", "the first byte comes in \(milliseconds(since: first))"))
      return true
    } catch {
      report(Finding("bucket", Failure(error, settings: settings)))
      return false
    }
  }

  private func milliseconds(since begin: UInt64) -> String { "\((time.monotonic - begin) / 1_000_000) ms" }
}
