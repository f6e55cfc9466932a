# Perl's LWP: one user agent for the whole plan, which keeps its connection and accepts the content codings that it can undo.
use strict;
use warnings;
use HTTP::Message;
use LWP::UserAgent;

my ($plan, $answers) = @ARGV;
my $agent = LWP::UserAgent->new(keep_alive => 1, timeout => 20);
$agent->default_header('Accept-Encoding' => scalar HTTP::Message::decodable());

open my $lines, '<', $plan or die "$plan: $!";
while (my $line = <$lines>) {
    chomp $line;
    my ($step, $method, $url, $body, $how) = split /\t/, $line;
    my $request = HTTP::Request->new($method, $url, [ 'Authorization' => 'Basic Y2xpZW50OmNsaWVudA==' ]);
    if ($how ne 'none') {
        open my $file, '<:raw', $body or die "$body: $!";
        $request->header('Content-Type' => 'application/json');
        $request->header('Expect' => '100-continue') if $how eq 'expect';
        # Content from a function, of a length that nobody has told, goes out in chunks.
        $request->content(sub { my $piece; return read($file, $piece, 65536) ? $piece : '' });
        $request->header('Content-Length' => -s $file) if $how ne 'chunked';
    }
    my $answer = $agent->request($request);
    die "$step: " . $answer->content if $answer->header('Client-Warning');    # its own failures
    open my $kept, '>:raw', "$answers/$step" or die "$answers/$step: $!";
    print {$kept} $answer->decoded_content(charset => 'none');
    close $kept or die "$answers/$step: $!";
    print join("\t", $step, $answer->code, scalar $answer->content_type), "\n";
}
