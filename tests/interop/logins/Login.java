import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Java's HttpURLConnection, and a binder that knows two members, both strings, in this order, and dies of any other. */
class Login {
    private static final Pattern TOKEN = Pattern.compile(
        "\\s*\\{\\s*\"access_token\"\\s*:\\s*\"([A-Za-z0-9]{1,64})\"\\s*,\\s*\"expires_in\"\\s*:\\s*\"([0-9]{1,9})\"\\s*\\}\\s*");

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        String basic = "Basic " + Base64.getEncoder().encodeToString("client:secret".getBytes(StandardCharsets.UTF_8));
        String answer = call("login", "POST", base + "/oauth/v2/token", basic, "application/x-www-form-urlencoded",
            "grant_type=password&username=machine&password=p%C3%A5ss");
        Matcher token = TOKEN.matcher(answer);
        if (!token.matches() || Integer.parseInt(token.group(2)) <= 0) {
            throw new IllegalStateException("not a token");
        }
        String bearer = "Bearer " + token.group(1);
        call("list", "GET", base + "/corporate-accounts/v2/accounts", bearer, null, null);
        call("order", "POST", base + "/corporate-mobile-subscriptions/v2/orders", bearer, "application/json", arguments[1]);
        String bye = call("logout", "GET", base + "/oauth/v2/logout", bearer, null, null);
        if (!bye.equals("OK!")) {
            throw new IllegalStateException("not logged out");
        }
    }

    private static String call(String step, String method, String url, String credential, String type, String content)
            throws Exception {
        var connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setConnectTimeout(20_000);
        connection.setReadTimeout(20_000);
        connection.setRequestMethod(method);
        connection.setRequestProperty("Authorization", credential);
        if (content != null) {
            connection.setDoOutput(true);
            connection.setRequestProperty("Content-Type", type);
            connection.getOutputStream().write(content.getBytes(StandardCharsets.UTF_8));
        }
        System.out.println(step + "\t" + connection.getResponseCode() + "\t" + connection.getContentType());
        try (InputStream answer = connection.getInputStream()) {
            return new String(answer.readAllBytes(), StandardCharsets.UTF_8);
        }
    }
}
