import CCurl

/// How far a transfer had come when libcurl gave it up: the same code means different things at different times.
struct TransferCircumstances {
  /// Whether a connection stood and the request was about to be sent.
  var wasConnected: Bool
  /// Whether the final head had been received.
  var hasHead: Bool
  /// Whether the time for the whole transfer was over.
  var totalDeadlinePassed: Bool

  /// What to report for a libcurl error.
  func errorCode(_ code: CURLcode) -> HTTPError.Code {
    switch code {
    case CURLE_URL_MALFORMAT, CURLE_BAD_FUNCTION_ARGUMENT, CURLE_UNKNOWN_OPTION, CURLE_NOT_BUILT_IN:
      .invalidRequest
    case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY:
      .unresolved
    case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CIPHER,
      CURLE_SSL_CERTPROBLEM, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_ENGINE_INITFAILED:
      .tls
    case CURLE_OPERATION_TIMEDOUT:
      wasConnected || totalDeadlinePassed ? .timedOut : .connectTimedOut
    case CURLE_PARTIAL_FILE:
      .truncated
    case CURLE_UNSUPPORTED_PROTOCOL, CURLE_WEIRD_SERVER_REPLY, CURLE_OUT_OF_MEMORY, CURLE_BAD_CONTENT_ENCODING,
      CURLE_FILESIZE_EXCEEDED, ccurl_too_large:
      // Out of memory is also what libcurl 7.88 calls a header line over 100 KB; before a connection stands, and for
      // a scheme it does not know, it is about the request.
      whileAnswering(.malformed)
    default:
      whileAnswering(.connectionLost)
    }
  }

  private func whileAnswering(_ beforeHead: HTTPError.Code) -> HTTPError.Code {
    guard wasConnected else { return .unreachable }
    return hasHead ? .truncated : beforeHead
  }
}
