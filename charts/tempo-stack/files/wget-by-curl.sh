# Stands before send-and-find.sh where the Collector asks for TLS or for a credential, and does with curl what that does with wget:
# busybox's neither looks at certificates nor has one to show.
# A credential goes to curl by its input, so that no list of processes shows it, and to nobody but the Collector.
timeout() {
  limit=$1
  shift
  "$@"
}

authorization() {
  case $AUTH in
  bearer | oidc)
    while read -r token _ || [ -n "$token" ]; do
      if [ -n "$token" ]; then
        echo "Authorization: Bearer $token"
        break
      fi
    done <"$DOORS/credentials/credentials"
    ;;
  basic)
    read -r pair <"$DOORS/credentials/credentials" || [ -n "$pair" ]
    echo "Authorization: Basic $(printf %s "$pair" | base64 | tr -d '\n')"
    ;;
  esac
}

wget() {
  url=
  count=$#
  while [ "$count" -gt 0 ]; do
    case $1 in
    -q) shift ;;
    -O) shift 2 && count=$((count - 1)) ;;
    --post-data) text=$2 && shift 2 && set -- "$@" --data-binary "$text" && count=$((count - 1)) ;;
    --header) text=$2 && shift 2 && set -- "$@" --header "$text" && count=$((count - 1)) ;;
    *) url=$1 && shift ;;
    esac
    count=$((count - 1))
  done
  set -- "$@" --silent --show-error --fail --max-time "$limit"
  case $url in
  "$COLLECTOR"/*)
    if [ -s "$DOORS/ca/ca.crt" ]; then set -- "$@" --cacert "$DOORS/ca/ca.crt"; fi
    if [ -s "$DOORS/certificate/tls.crt" ]; then
      set -- "$@" --cert "$DOORS/certificate/tls.crt" --key "$DOORS/certificate/tls.key"
    fi
    authorization | curl "$@" --header @- "$url"
    ;;
  *) curl "$@" "$url" ;;
  esac
}

