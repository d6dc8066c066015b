/// The metrics of `waysfs status --prometheus`. Names and labels are for ever; docs/monitoring.md lists them, and a
/// test compares.
enum MetricName: String, CaseIterable {
  case up = "waysfs_up"
  case state = "waysfs_state"
  case info = "waysfs_info"
  case startTime = "waysfs_start_time_seconds"
  case requests = "waysfs_requests_total"
  case requestErrors = "waysfs_request_errors_total"
  case requestRetries = "waysfs_request_retries_total"
  case requestDuration = "waysfs_request_duration_seconds"
  case requestFirstByte = "waysfs_request_first_byte_seconds"
  case receivedBytes = "waysfs_received_bytes_total"
  case sentBytes = "waysfs_sent_bytes_total"
  case pendingFiles = "waysfs_pending_files"
  case pendingBytes = "waysfs_pending_bytes"
  case failedFiles = "waysfs_failed_files"
  case journalBytes = "waysfs_journal_bytes"
  case journalLimit = "waysfs_journal_limit_bytes"
  case keptFiles = "waysfs_kept_files"
  case blockCacheHits = "waysfs_block_cache_hits_total"
  case blockCacheMisses = "waysfs_block_cache_misses_total"
  case blockCacheBytes = "waysfs_block_cache_bytes"
  case blockCacheLimit = "waysfs_block_cache_limit_bytes"
  case diskCacheHits = "waysfs_disk_cache_hits_total"
  case diskCacheMisses = "waysfs_disk_cache_misses_total"
  case diskCacheBytes = "waysfs_disk_cache_bytes"
  case diskCacheLimit = "waysfs_disk_cache_limit_bytes"
  case diskCacheDamaged = "waysfs_disk_cache_damaged_total"
  case diskCacheUp = "waysfs_disk_cache_up"
  case memoryBytes = "waysfs_memory_bytes"
  case memoryLimit = "waysfs_memory_limit_bytes"
  case residentMemory = "waysfs_resident_memory_bytes"
  case operationDuration = "waysfs_operation_duration_seconds"

  enum Kind: String {
    case counter, gauge, histogram, summary
  }

  var kind: Kind {
    switch self {
    case .requestDuration, .requestFirstByte: .histogram
    case .operationDuration: .summary
    default: rawValue.hasSuffix("_total") ? .counter : .gauge
    }
  }

  /// Labels beside `mountpoint`, which all have.
  var labels: [String] {
    switch self {
    case .state: ["state"]
    case .info: ["source", "version", "endpoint", "write_mode", "read_only"]
    case .requests, .requestRetries, .requestDuration, .requestFirstByte: ["bucket", "prefix", "operation"]
    case .requestErrors: ["bucket", "prefix", "operation", "code"]
    case .receivedBytes, .sentBytes, .pendingFiles, .pendingBytes, .failedFiles, .journalBytes, .journalLimit:
      ["bucket", "prefix"]
    case .keptFiles: ["bucket", "prefix", "kind"]
    case .operationDuration: ["operation"]
    default: []
    }
  }

  var help: String {
    switch self {
    case .up: "Whether the process of the mount answers."
    case .state: "1 for the state that the mount is in, 0 for every other."
    case .info: "Always 1; the labels describe the mount."
    case .startTime: "When the process of the mount was started, since the epoch."
    case .requests: "Requests to the server; each try is one."
    case .requestErrors: "Requests that failed, by what the failure was."
    case .requestRetries: "Requests that repeated one that had failed."
    case .requestDuration: "From handing a request to the transport to the end of its answer."
    case .requestFirstByte: "From handing a request to the transport to the head of its answer."
    case .receivedBytes: "Bodies of answers."
    case .sentBytes: "Bodies of requests that were answered."
    case .pendingFiles: "Files that the bucket does not have as they are."
    case .pendingBytes: "Length of these files."
    case .failedFiles: "Those of them whose last upload has failed."
    case .journalBytes: "Space that files being written take on this machine."
    case .journalLimit: "The most that they may take, where that is limited."
    case .keptFiles: "Files that are kept for a person to look at."
    case .blockCacheHits: "Reads that were answered from memory."
    case .blockCacheMisses: "Reads that had to wait for the disk cache or the server."
    case .blockCacheBytes: "Memory that holds what was read."
    case .blockCacheLimit: "The most that it may be."
    case .diskCacheHits: "Stretches that were looked for in the disk cache, and were there."
    case .diskCacheMisses: "Stretches that were looked for in the disk cache, and were not there."
    case .diskCacheBytes: "Size of the disk cache, of all mounts that use it."
    case .diskCacheLimit: "The most that it may be."
    case .diskCacheDamaged: "Pieces of the disk cache that were damaged, and were dropped."
    case .diskCacheUp: "Whether the disk cache is in use; 0 after its disk has failed."
    case .memoryBytes: "Memory for file contents."
    case .memoryLimit: "The most that it may be."
    case .residentMemory: "Resident memory of the process."
    case .operationDuration: "How long the kernel waited for answers, by kind of request."
    }
  }
}
